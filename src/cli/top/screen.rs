//! The terminal of the live view: its other screen, single keys, and everything as it was at the end.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use crossterm::event::{self, Event, KeyCode, KeyEvent, KeyModifiers};
use crossterm::terminal::{self, Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen};
use crossterm::{cursor, execute, queue};

use crate::cli::connect::Failure;

/// The terminal while it shows the view.
pub(super) struct Screen(());

impl Screen {
    pub(super) fn open() -> Result<Self, Failure> {
        if !io::stdout().is_terminal() {
            let reason =
                "standard output is no terminal\n  use --once, with --format json for programs";
            return Err(Failure(reason.to_owned()));
        }
        terminal::enable_raw_mode()?;
        // From here on, leaving restores it.
        let screen = Self(());
        execute!(io::stdout(), EnterAlternateScreen, cursor::Hide)?;
        Ok(screen)
    }

    /// Shows as much of a text as there is room for.
    pub(super) fn show(&self, text: &str) -> Result<(), Failure> {
        let (columns, rows) = terminal::size()?;
        let mut out = io::stdout().lock();
        queue!(out, cursor::MoveTo(0, 0))?;
        for line in text.lines().take(rows.into()) {
            let line: String = line.chars().take(columns.into()).collect();
            queue!(out, Clear(ClearType::CurrentLine))?;
            write!(out, "{line}")?;
            queue!(out, cursor::MoveToNextLine(1))?;
        }
        queue!(out, Clear(ClearType::FromCursorDown))?;
        Ok(out.flush()?)
    }

    /// Waits for the next look; false when the view shall end.
    pub(super) fn wait(&self, interval: Duration) -> Result<bool, Failure> {
        let until = Instant::now() + interval;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if !event::poll(left)? {
                return Ok(true);
            }
            match event::read()? {
                Event::Key(key) if is_end(key) => return Ok(false),
                Event::Key(key) if key.code == KeyCode::Char(' ') => return Ok(true),
                _ => {}
            }
        }
    }
}

fn is_end(key: KeyEvent) -> bool {
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc => true,
        // Raw mode takes the signal away.
        KeyCode::Char('c') => key.modifiers.contains(KeyModifiers::CONTROL),
        _ => false,
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        drop(execute!(io::stdout(), LeaveAlternateScreen, cursor::Show));
        drop(terminal::disable_raw_mode());
    }
}

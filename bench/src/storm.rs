//! The loads of modes `idle` and `reconnect`. Idle connections are opened and left alone. In a
//! storm all connections at once connect, ask for versions, get their answer and close; then
//! again. A *request* of the totals is a connection.

use std::{
    io::{self, Read, Write},
    time::{Duration, Instant},
};

use klamm_wire::{ApiKey, MessageView, api_versions, parse_response_header};
use mio::{Events, Interest, Poll, Token, net::TcpStream};

use crate::{
    control::{Control, GREETING_VERSION, refused},
    drive::{Course, Outcome},
    problem::Problem,
    progress::{Counted, Progress},
    steering::{Phase, Steering, Told},
};

/// A round begins no sooner than this after the one before: loopback uses a closed connection's
/// port again after a second.
const ROUND_DISTANCE: Duration = Duration::from_millis(1100);

/// How long a round may take.
const ROUND_WAIT: Duration = Duration::from_secs(60);

/// Longest wait for an event, so that steering is heard.
const SLEEP_MAX: Duration = Duration::from_millis(20);

/// A connection of a round.
#[derive(Debug)]
struct Caller {
    socket: TcpStream,
    greeted: bool,
    received: Vec<u8>,
    answered: bool,
}

/// Runs rounds of `connections` until the steering ends them.
///
/// # Errors
/// See [`Problem`]; the run is void.
pub fn storm(
    course: Course,
    connections: usize,
    steering: &Steering,
    tell: &mut dyn FnMut(Told),
) -> Result<Outcome, Problem> {
    let greeting = Control::greeting()?;
    let began = Instant::now();
    let mut progress = Progress::new(began);
    let (mut told_at, mut measuring) = (began, false);
    loop {
        let started = Instant::now();
        let phase = steering.phase(started - began, progress.bytes());
        if phase != Phase::WarmUp && !measuring {
            measuring = true;
            progress.measure(started);
            tell(Told::Measure(progress.totals(started)));
        }
        if phase == Phase::Stop {
            progress.measured(started);
            tell(Told::Measured(progress.totals(started)));
            return Ok(Outcome {
                progress,
                done: false,
            });
        }
        round(course, connections, &greeting, &mut progress)?;
        loop {
            let now = Instant::now();
            if now - told_at >= course.interval {
                told_at = now;
                tell(Told::Interval(progress.totals(now)));
            }
            let over = steering.phase(now - began, progress.bytes()) == Phase::Stop;
            let left = ROUND_DISTANCE.saturating_sub(now - started);
            if over || left.is_zero() {
                break;
            }
            std::thread::sleep(left.min(SLEEP_MAX));
        }
    }
}

/// Opens `connections`, one after the other, and leaves them alone until the steering ends it.
/// Latencies are those of opening, up to the first answer.
///
/// # Errors
/// See [`Problem`]; the run is void.
pub fn idle(
    course: Course,
    connections: usize,
    steering: &Steering,
    tell: &mut dyn FnMut(Told),
) -> Result<Outcome, Problem> {
    let opening = Instant::now();
    let mut progress = Progress::new(opening);
    progress.measure(opening);
    let mut open = Vec::new();
    for _ in 0..connections {
        let intended = Instant::now();
        open.push(Control::connect(course.address)?);
        progress.answered(Counted::default(), intended, Instant::now());
    }
    let began = Instant::now();
    let (mut told_at, mut measuring) = (began, false);
    loop {
        let now = Instant::now();
        let phase = steering.phase(now - began, 0);
        if phase != Phase::WarmUp && !measuring {
            measuring = true;
            progress.measure(now);
            tell(Told::Measure(progress.totals(now)));
        }
        if phase == Phase::Stop {
            progress.measured(now);
            tell(Told::Measured(progress.totals(now)));
            return Ok(Outcome {
                progress,
                done: false,
            });
        }
        if now - told_at >= course.interval {
            told_at = now;
            tell(Told::Interval(progress.totals(now)));
        }
        std::thread::sleep(SLEEP_MAX);
    }
}

fn round(
    course: Course,
    connections: usize,
    greeting: &[u8],
    progress: &mut Progress,
) -> Result<(), Problem> {
    let mut poll = Poll::new()?;
    let started = Instant::now();
    let mut callers = Vec::new();
    for index in 0..connections {
        let mut socket = TcpStream::connect(course.address)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        poll.registry()
            .register(&mut socket, Token(index), interest)?;
        callers.push(Caller {
            socket,
            greeted: false,
            received: Vec::new(),
            answered: false,
        });
    }
    let mut events = Events::with_capacity(1024);
    let mut open = connections;
    while open > 0 {
        if started.elapsed() > ROUND_WAIT {
            let text = format!("{open} of {connections} connections stay unanswered");
            return Err(Problem::Protocol(text));
        }
        poll.poll(&mut events, Some(SLEEP_MAX))
            .or_else(|error| match error.kind() {
                io::ErrorKind::Interrupted => Ok(()),
                _ => Err(error),
            })?;
        let now = Instant::now();
        for event in &events {
            let caller = &mut callers[event.token().0];
            if caller.serve(greeting)? {
                open -= 1;
                progress.answered(Counted::default(), started, now);
            }
        }
    }
    Ok(())
}

impl Caller {
    /// Goes on as far as the socket lets it; true when the answer has come.
    fn serve(&mut self, greeting: &[u8]) -> Result<bool, Problem> {
        if let Some(error) = self.socket.take_error()? {
            return Err(error.into());
        }
        if !self.greeted {
            match self.socket.write(greeting) {
                Ok(size) if size == greeting.len() => self.greeted = true,
                Ok(_) => return Err(Problem::Protocol("a greeting was cut".to_owned())),
                Err(error) if is_early(&error) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
        if self.answered {
            return Ok(false);
        }
        let mut chunk = [0; 4096];
        loop {
            match self.socket.read(&mut chunk) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Ok(size) => self.received.extend_from_slice(&chunk[..size]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        let Some(&prefix) = self.received.first_chunk::<4>() else {
            return Ok(false);
        };
        let size = usize::try_from(i32::from_be_bytes(prefix)).unwrap_or(usize::MAX);
        let Some(frame) = self.received.get(4..).and_then(|rest| rest.get(..size)) else {
            return Ok(false);
        };
        let (_, body) = parse_response_header(frame, ApiKey::ApiVersions, GREETING_VERSION)?;
        let answer = api_versions::ResponseView::parse_prefix(body, GREETING_VERSION)?.0;
        refused("ApiVersions", answer.error_code(), String::new)?;
        self.answered = true;
        Ok(true)
    }
}

/// A connection that is still being made.
fn is_early(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected
    )
}

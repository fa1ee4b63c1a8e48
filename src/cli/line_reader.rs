//! Lines of an input, read by a thread of their own: what lingers in the producer leaves while
//! nobody types.

use std::io::{BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use super::connect::Failure;

/// Lines that go to the reader's user at once, at most.
const LINES_MAX: usize = 512;

/// Such packets that wait; above it the reading thread waits.
const PACKETS_MAX: usize = 8;

/// Bytes that are read at once.
const CHUNK_BYTES: usize = 1 << 16;

/// Lines without their ends, or why there are no more.
type Packet = Result<Vec<Vec<u8>>, String>;

/// Reads lines.
pub(super) struct LineReader {
    packets: Receiver<Packet>,
}

/// What there is to do.
pub(super) enum Next {
    /// These lines, in order.
    Lines(Vec<Vec<u8>>),
    /// Nothing came in time.
    Nothing,
    /// The input has ended.
    End,
}

impl LineReader {
    /// Begins to read lines of at most `longest` bytes.
    pub(super) fn new(input: Box<dyn Read + Send>, longest: u64) -> Result<Self, Failure> {
        let (sender, packets) = sync_channel(PACKETS_MAX);
        thread::Builder::new()
            .name("read lines".to_owned())
            .spawn(move || read_all(input, longest, &sender))
            .map_err(|error| Failure(format!("cannot start a thread: {error}")))?;
        Ok(Self { packets })
    }

    /// The next lines; waits at most this long for them.
    pub(super) fn next(&self, wait: Duration) -> Result<Next, Failure> {
        match self.packets.recv_timeout(wait) {
            Ok(Ok(lines)) => Ok(Next::Lines(lines)),
            Ok(Err(reason)) => Err(Failure(reason)),
            Err(RecvTimeoutError::Timeout) => Ok(Next::Nothing),
            Err(RecvTimeoutError::Disconnected) => Ok(Next::End),
        }
    }
}

/// Reads to the end, or until nobody wants more.
fn read_all(input: Box<dyn Read + Send>, longest: u64, sender: &SyncSender<Packet>) {
    let mut input = BufReader::with_capacity(CHUNK_BYTES, input);
    let mut lines = Vec::new();
    for number in 1_u64.. {
        match read_line(&mut input, longest) {
            Ok(Some(line)) => lines.push(line),
            Ok(None) => break,
            Err(reason) => {
                // What stands before the bad line goes first.
                let _ = sender.send(Ok(std::mem::take(&mut lines)));
                let _ = sender.send(Err(format!("line {number}: {reason}")));
                return;
            }
        }
        if (input.buffer().is_empty() || lines.len() >= LINES_MAX)
            && sender.send(Ok(std::mem::take(&mut lines))).is_err()
        {
            return;
        }
    }
    let _ = sender.send(Ok(lines));
}

/// A line without its end; `None` behind the last.
fn read_line(input: &mut impl BufRead, longest: u64) -> Result<Option<Vec<u8>>, String> {
    let mut line = Vec::new();
    let count = input
        .take(longest + 2)
        .read_until(b'\n', &mut line)
        .map_err(|error| format!("cannot read: {error}"))?;
    if count == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
    }
    if line.len() as u64 > longest {
        return Err(format!(
            "expected at most {longest} bytes; raise --max-request-size"
        ));
    }
    Ok(Some(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All lines of a text, and what ended them.
    fn lines(text: &'static [u8], longest: u64) -> (Vec<Vec<u8>>, Option<String>) {
        let Ok(reader) = LineReader::new(Box::new(text), longest) else {
            panic!("a thread starts");
        };
        let mut all = Vec::new();
        loop {
            match reader.next(Duration::from_secs(60)) {
                Ok(Next::Lines(lines)) => all.extend(lines),
                Ok(Next::End) => return (all, None),
                Ok(Next::Nothing) => panic!("no end in time"),
                Err(Failure(reason)) => return (all, Some(reason)),
            }
        }
    }

    #[test]
    fn lines_end_with_or_without_a_carriage_return_and_at_the_end() {
        let (all, end) = lines(b"a\r\nb\n\nlast", 100);
        assert_eq!(all, [&b"a"[..], b"b", b"", b"last"]);
        assert_eq!(end, None);
        assert_eq!(lines(b"", 100).0.len(), 0);
    }

    #[test]
    fn a_line_that_is_too_long_is_named_and_those_before_it_are_given() {
        let (all, end) = lines(b"a\nbcdef\nc\n", 4);
        assert_eq!(all, [b"a"]);
        let end = end.expect("refused");
        assert!(
            end.starts_with("line 2: ") && end.contains("--max-request-size"),
            "{end}"
        );
        assert_eq!(lines(b"abcd\r\n", 4).1, None);
    }
}

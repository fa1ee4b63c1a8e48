//! What happened, as one number, and as lines if somebody wants to read them.

/// A running number over bytes (FNV-1a, 64 bits).
#[derive(Clone, Copy, Debug)]
pub struct Hash(u64);

impl Default for Hash {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hash {
    /// Takes bytes in.
    pub fn add(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// The number so far.
    #[must_use]
    pub const fn value(self) -> u64 {
        self.0
    }
}

/// The history of a run.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    hash: Hash,
    events: u64,
    /// The lines themselves, if they are kept.
    lines: Option<Vec<String>>,
}

impl Trace {
    /// A history that keeps its lines, or only their number.
    #[must_use]
    pub fn new(keep: bool) -> Self {
        Self {
            lines: keep.then(Vec::new),
            ..Self::default()
        }
    }

    /// Takes an event in.
    pub fn event(&mut self, line: std::fmt::Arguments<'_>) {
        let line = line.to_string();
        self.hash.add(line.as_bytes());
        self.events += 1;
        if let Some(lines) = &mut self.lines {
            lines.push(line);
        }
    }

    /// The number that stands for all events so far, in their order.
    #[must_use]
    pub const fn hash(&self) -> u64 {
        self.hash.value()
    }

    /// Events so far.
    #[must_use]
    pub const fn events(&self) -> u64 {
        self.events
    }

    /// The lines, if they were kept.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        self.lines.as_deref().unwrap_or_default()
    }
}

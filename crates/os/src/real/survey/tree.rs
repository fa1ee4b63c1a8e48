//! Where the kernel says things in words: /proc and /sys below a root of the caller's choosing, so
//! that a test gives a host that was made up. Every reading that cannot be had says why.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    str::FromStr,
};

/// Longest text that is read: /proc/interrupts of a machine with a thousand cores fits.
const TEXT_BYTES_MAX: u64 = 16 << 20;

/// Largest core number in a list.
const CORE_MAX: usize = 65_535;

/// Why something could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unread {
    /// This kernel, or this machine, has no such place.
    Absent {
        /// The place, for example `/sys/kernel/mm/transparent_hugepage/enabled`.
        place: String,
    },
    /// It is there and did not answer, or not as expected.
    Failed {
        /// The place.
        place: String,
        /// What came instead.
        why: String,
    },
}

impl Unread {
    pub(super) fn unexpected(place: &str, text: &str) -> Self {
        let shown: String = text.trim().chars().take(80).collect();
        Self::Failed {
            place: place.to_owned(),
            why: format!("it says {shown:?}, which is not understood"),
        }
    }

    pub(super) fn of(place: &str, error: &io::Error) -> Self {
        let place = place.to_owned();
        if error.kind() == io::ErrorKind::NotFound {
            return Self::Absent { place };
        }
        Self::Failed {
            place,
            why: error.to_string(),
        }
    }
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent { place } => write!(f, "there is no {place}"),
            Self::Failed { place, why } => write!(f, "{place} cannot be read: {why}"),
        }
    }
}

/// What was read, or why it was not.
pub type Reading<T> = Result<T, Unread>;

/// The files of /proc and /sys.
#[derive(Clone, Debug)]
pub struct Tree {
    root: PathBuf,
}

impl Default for Tree {
    fn default() -> Self {
        Self::below("/")
    }
}

impl Tree {
    /// The tree below `root`: `/` for this machine.
    pub fn below(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Where a place such as `/proc/swaps` lies.
    pub(super) fn path(&self, place: &str) -> PathBuf {
        self.root.join(place.trim_start_matches('/'))
    }

    /// The whole text of a place.
    pub(in crate::real) fn text(&self, place: &str) -> Reading<String> {
        let read = || {
            let mut text = String::new();
            File::open(self.path(place))?
                .take(TEXT_BYTES_MAX)
                .read_to_string(&mut text)?;
            Ok(text)
        };
        read().map_err(|error| Unread::of(place, &error))
    }

    /// A text that is one number.
    pub(super) fn number<N: FromStr>(&self, place: &str) -> Reading<N> {
        let text = self.text(place)?;
        let number = text.trim().parse();
        number.map_err(|_| Unread::unexpected(place, &text))
    }

    /// A text that is a list of cores, such as `0-3,6`.
    pub(super) fn cores(&self, place: &str) -> Reading<Vec<usize>> {
        let text = self.text(place)?;
        core_list(&text).ok_or_else(|| Unread::unexpected(place, &text))
    }

    /// The chosen one of several words, which stands in brackets.
    pub(super) fn choice(&self, place: &str) -> Reading<String> {
        let text = self.text(place)?;
        Ok(chosen(&text).to_owned())
    }

    /// Names in a folder, sorted.
    pub(super) fn names(&self, place: &str) -> Reading<Vec<String>> {
        let read = |path: &Path| {
            let entries = fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.file_name()));
            entries.collect::<io::Result<Vec<_>>>()
        };
        let found = read(&self.path(place)).map_err(|error| Unread::of(place, &error))?;
        let mut names: Vec<_> = found
            .into_iter()
            .filter_map(|name| name.into_string().ok())
            .collect();
        names.sort();
        Ok(names)
    }
}

/// Reads `0-3,6`; an empty text is an empty list. `None` if it is no list of cores.
pub(super) fn core_list(text: &str) -> Option<Vec<usize>> {
    let mut cores = Vec::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if first > last || last > CORE_MAX {
            return None;
        }
        cores.extend(first..=last);
    }
    Some(cores)
}

/// The word in brackets, as in `always [madvise] never`; the whole text if there is none.
fn chosen(text: &str) -> &str {
    let inside = |text: &'_ str| {
        let start = text.find('[')? + 1;
        let end = text[start..].find(']')? + start;
        Some((start, end))
    };
    match inside(text) {
        Some((start, end)) => &text[start..end],
        None => text.trim(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cores_are_read_as_the_kernel_writes_them() {
        let check = |text: &str, expected: Option<&[usize]>| {
            assert_eq!(core_list(text).as_deref(), expected, "{text:?}");
        };
        check("0-1\n", Some(&[0, 1]));
        check("0,2-4,9\n", Some(&[0, 2, 3, 4, 9]));
        check("\n", Some(&[]));
        check("(null)\n", None);
        check("3-1", None);
        check("0-99999999", None);
    }

    #[test]
    fn word_in_brackets_is_the_chosen_one() {
        assert_eq!(chosen("always [madvise] never\n"), "madvise");
        assert_eq!(chosen("none\n"), "none");
        assert_eq!(chosen("[broken"), "[broken");
    }

    #[test]
    fn what_is_not_there_is_told_from_what_does_not_answer() {
        let tree = Tree::default();
        let absent = tree.text("/proc/no-such-place").unwrap_err();
        assert_eq!(absent.to_string(), "there is no /proc/no-such-place");
        let failed = tree.text("/proc/self").unwrap_err();
        assert!(matches!(failed, Unread::Failed { .. }), "{failed}");
        let wrong = tree.number::<u64>("/proc/self/cmdline").unwrap_err();
        assert!(wrong.to_string().contains("not understood"), "{wrong}");
    }
}

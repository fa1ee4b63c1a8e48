//! The write-ahead files of one core by their heads, at boot. A file whose head is damaged is
//! recognised by its entries, and put where they say (L3).

use klamm_records::wal::{
    FILE_HEAD_BYTES, FileHead, Incarnation, ScanBounds, WalPosition, flushed_claim, recognise,
};

use crate::boot::{BootError, Finding};
use crate::boot_wal::Reading;
use crate::quarantine;
use crate::storage::Storage;

pub(crate) struct File {
    pub(crate) name: String,
    pub(crate) head: FileHead,
    pub(crate) length: u64,
    /// What the head should say is known from the entries alone.
    pub(crate) is_head_lost: bool,
}

impl File {
    /// A position behind everything that may stand in it.
    pub(crate) const fn beyond(&self) -> WalPosition {
        WalPosition(self.head.start.0.saturating_add(self.length))
    }
}

/// A file that nothing places among the others: made ahead and never begun, or unrecognisable.
pub(crate) struct Void {
    pub(crate) name: String,
    pub(crate) length: u64,
    pub(crate) is_blank: bool,
}

/// What the folder holds.
pub(crate) struct Files {
    /// What was begun, in its order.
    pub(crate) begun: Vec<File>,
    pub(crate) void: Vec<Void>,
}

impl<S: Storage> Reading<'_, S> {
    pub(crate) fn files(&mut self) -> Result<Files, BootError> {
        let (mut begun, mut headless) = (Vec::new(), Vec::new());
        for name in self.storage.list(&self.folder)? {
            let path = format!("{}/{name}", self.folder);
            let head = self.storage.read_at(&path, 0, FILE_HEAD_BYTES)?;
            let length = self.storage.length(&path)?.unwrap_or(0);
            match FileHead::decode(&head) {
                Ok(head) => begun.push(File {
                    name,
                    head,
                    length,
                    is_head_lost: false,
                }),
                Err(_) => headless.push(Void {
                    name,
                    length,
                    is_blank: false,
                }),
            }
        }
        begun.sort_by_key(|file| file.head.number);
        let void = self.recognise(&mut begun, headless)?;
        Ok(Files { begun, void })
    }

    /// Puts files without a head among the others where their entries say; gives those that say
    /// nothing.
    fn recognise(
        &mut self,
        begun: &mut Vec<File>,
        headless: Vec<Void>,
    ) -> Result<Vec<Void>, BootError> {
        let lives: Vec<Incarnation> = begun.iter().map(|file| file.head.incarnation).collect();
        let (mut recognised, mut void) = (Vec::new(), Vec::new());
        for mut file in headless {
            let path = format!("{}/{}", self.folder, file.name);
            let bytes = self.storage.read(&path)?.unwrap_or_default();
            if bytes.iter().all(|&byte| byte == 0) {
                file.is_blank = true;
                void.push(file);
                continue;
            }
            let area = bytes.get(FILE_HEAD_BYTES..).unwrap_or_default();
            // Without its checkpoint nobody knows whether a file was void, and being used again.
            let is_told = !self.is_incomplete;
            match recognise(area, |at, life, start| {
                // No payload stands where the first entry does. One further on may quote an entry,
                // but nobody knows a life's number beforehand; and where the number is known from
                // nothing else, the file must say that some of it was durable.
                is_told && (at == 0 || lives.contains(&life) || is_claimed(area, life, start))
            }) {
                Some(found) => recognised.push((found, file)),
                None => {
                    self.keep_unknown(&file, &bytes)?;
                    void.push(file);
                }
            }
        }
        recognised.sort_by_key(|&((_, start), _)| start);
        // From the first on towards older numbers, then behind the others towards newer ones.
        let first = begun.first().map(|file| file.head.start);
        let older =
            recognised.partition_point(|&((_, start), _)| first.is_some_and(|it| start < it));
        let newer = recognised.split_off(older);
        for (found, file) in recognised.into_iter().rev().chain(newer) {
            void.extend(place(begun, found, file));
        }
        Ok(void)
    }

    /// What was begun when the power went may look like this, and something that rotted.
    fn keep_unknown(&mut self, file: &Void, bytes: &[u8]) -> Result<(), BootError> {
        let copy = self.copy_of(&file.name);
        quarantine::keep(self.storage, &copy, bytes)?;
        self.findings.push(Finding::UnknownWalFile {
            shard: self.shard,
            name: file.name.clone(),
            quarantined: copy,
        });
        Ok(())
    }

    /// Writes heads again that were lost: whatever told them may be removed.
    pub(crate) fn put_back(&mut self, heads: &[(String, FileHead)]) -> Result<(), BootError> {
        for (name, head) in heads {
            let path = format!("{}/{name}", self.folder);
            self.storage.write_at(&path, 0, head.encode().as_slice())?;
            self.storage.flush(&path)?;
        }
        Ok(())
    }

    /// Tells of the first file's head, if that rotted: somebody says that bytes behind it were durable,
    /// so it was, too. What is before `from` is not needed any more.
    pub(crate) fn tell_of_head(
        &mut self,
        files: &[File],
        from: WalPosition,
    ) -> Result<(), BootError> {
        let Some(file) = files.first().filter(|file| file.is_head_lost) else {
            return Ok(());
        };
        if self.claims(files)? > file.head.start.max(from) {
            let copy = self.copy_of(&file.name);
            let path = format!("{}/{}", self.folder, file.name);
            let bytes = self.storage.read(&path)?.unwrap_or_default();
            quarantine::keep(self.storage, &copy, &bytes)?;
            self.findings.push(Finding::WalHeadDamage {
                shard: self.shard,
                name: file.name.clone(),
                quarantined: copy,
            });
        }
        Ok(())
    }
}

/// True if an entry of this file says that bytes of it were durable.
fn is_claimed(area: &[u8], incarnation: Incarnation, start: WalPosition) -> bool {
    let bounds = ScanBounds {
        incarnation,
        start,
        end: None,
        flushed: WalPosition::ZERO,
    };
    flushed_claim(area, &bounds).is_some_and(|claim| claim > start)
}

/// Puts a file among the others, with the number that is free there; gives it back if none is.
fn place(
    begun: &mut Vec<File>,
    (incarnation, start): (Incarnation, WalPosition),
    file: Void,
) -> Option<Void> {
    let at = begun.partition_point(|other| other.head.start <= start);
    let after = begun.get(at).map(|next| next.head.number);
    let number = match at.checked_sub(1).and_then(|before| begun.get(before)) {
        Some(before) => before.head.number.checked_add(1),
        None => after.map_or(Some(0), |after| after.checked_sub(1)),
    };
    let free = number.filter(|&number| after.is_none_or(|after| number < after));
    let Some(number) = free else {
        return Some(file);
    };
    let head = FileHead {
        incarnation,
        number,
        start,
    };
    begun.insert(
        at,
        File {
            name: file.name,
            head,
            length: file.length,
            is_head_lost: true,
        },
    );
    None
}

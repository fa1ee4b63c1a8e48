//! Thin system calls: one function each, errors as `io::Error`, no state.
//! The `unsafe` of descriptors and gathered I/O lives here.

use std::{
    io::{self, IoSlice},
    mem::{MaybeUninit, size_of},
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    ptr::NonNull,
    sync::OnceLock,
};

/// Most slices that one gathered system call takes (`IOV_MAX` of Linux).
pub(crate) const SLICES_MAX: usize = 1024;

/// Turns the C convention (-1 and `errno`) into a result.
pub(crate) fn check(returned: libc::c_int) -> io::Result<libc::c_int> {
    if returned < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(returned)
    }
}

fn check_size(returned: isize) -> io::Result<usize> {
    usize::try_from(returned).map_err(|_| io::Error::last_os_error())
}

/// Seconds and nanoseconds of a clock that every Linux has. No system call, as a rule.
pub(crate) fn clock(clock: libc::clockid_t) -> (i64, i64) {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to `time`, which lives across the call.
    let read = unsafe { libc::clock_gettime(clock, &raw mut time) };
    assert_eq!(read, 0, "the clocks of the kernel can be read");
    (time.tv_sec, time.tv_nsec)
}

/// `None` when the call would have to wait; an interrupted call is repeated.
fn unless_blocked(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<Option<usize>> {
    loop {
        match call() {
            Ok(size) => return Ok(Some(size)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Receives into memory that may be uninitialised; the first `n` bytes are initialised after.
pub(crate) fn receive(fd: RawFd, space: &mut [MaybeUninit<u8>]) -> io::Result<Option<usize>> {
    unless_blocked(|| {
        // SAFETY: the pointer and length describe `space`, which lives across the call; the
        // kernel only writes into it.
        check_size(unsafe {
            libc::recv(
                fd,
                space.as_mut_ptr().cast(),
                space.len(),
                libc::MSG_DONTWAIT,
            )
        })
    })
}

/// Sends the slices with one `sendmsg`; at most [`SLICES_MAX`] of them.
pub(crate) fn send_gathered(fd: RawFd, slices: &[IoSlice<'_>]) -> io::Result<Option<usize>> {
    debug_assert!(slices.len() <= SLICES_MAX);
    // SAFETY: an all-zero msghdr is valid: no name, no control data, no slices.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = slices.as_ptr().cast_mut().cast();
    header.msg_iovlen = slices.len() as _;
    unless_blocked(|| {
        // SAFETY: IoSlice is guaranteed to have the layout of iovec; the header points to
        // `slices`, which lives across the call, and the kernel only reads.
        check_size(unsafe { libc::sendmsg(fd, &header, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) })
    })
}

/// Positional gathered write; may write less than asked.
pub(crate) fn write_gathered_at(
    fd: RawFd,
    slices: &[IoSlice<'_>],
    position: u64,
) -> io::Result<usize> {
    debug_assert!(slices.len() <= SLICES_MAX);
    let position = file_position(position)?;
    loop {
        // SAFETY: IoSlice has the layout of iovec; `slices` lives across the call and is read.
        let written = check_size(unsafe {
            libc::pwritev(
                fd,
                slices.as_ptr().cast(),
                slices.len() as libc::c_int,
                position,
            )
        });
        match written {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Reads up to `length` bytes at `position`.
///
/// # Safety
/// `place` has room for `length` bytes, to which nobody has a reference.
pub(crate) unsafe fn read_to(
    fd: RawFd,
    place: *mut u8,
    length: usize,
    position: u64,
) -> io::Result<usize> {
    let position = file_position(position)?;
    loop {
        // SAFETY: the caller's promise.
        let read = check_size(unsafe { libc::pread(fd, place.cast(), length, position) });
        match read {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// A file position as the kernel takes it.
pub(crate) fn file_position(position: u64) -> io::Result<libc::off_t> {
    libc::off_t::try_from(position).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG))
}

/// A new event counter, starting at zero, for waking a sleeping ring.
pub(crate) fn event_counter() -> io::Result<OwnedFd> {
    // SAFETY: no pointers; a descriptor that the call returns is ours alone.
    let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) })?;
    // SAFETY: `fd` was just made and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

static ALLOWED_CORES: OnceLock<libc::cpu_set_t> = OnceLock::new();

/// Remembers the cores of the calling thread, for [`leave_core`]; the first call counts.
pub(crate) fn remember_cores() {
    // SAFETY: all-zero is a valid, empty set.
    let mut cores: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer and size describe `cores`, which is written; 0 is the calling thread.
    let found = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut cores) };
    if found == 0 {
        ALLOWED_CORES.get_or_init(|| cores);
    }
}

/// Lets the calling thread run on all cores that [`remember_cores`] saw. It is only a matter of
/// speed, so a refusal is ignored.
pub(crate) fn leave_core() {
    if let Some(cores) = ALLOWED_CORES.get() {
        // SAFETY: the pointer and size describe `cores`, which is read.
        unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), cores) };
    }
}

/// Adds one to an event counter, waking whoever reads it.
pub(crate) fn ring_event_counter(counter: &OwnedFd) {
    let one = 1_u64.to_ne_bytes();
    // SAFETY: the pointer and length describe `one`, which is only read.
    let written = unsafe { libc::write(counter.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    assert_eq!(written, 8, "an event counter takes a one");
}

/// Sets an integer socket option.
pub(crate) fn set_option(
    fd: RawFd,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    // SAFETY: the pointer and size describe `value`, which lives across the call.
    check(unsafe {
        libc::setsockopt(
            fd,
            level,
            name,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    })
    .map(drop)
}

/// Reserves `length` bytes from the start of the file; with `keep_size` the length stays.
pub(crate) fn allocate(fd: RawFd, length: u64, keep_size: bool) -> io::Result<()> {
    let mode = if keep_size {
        libc::FALLOC_FL_KEEP_SIZE
    } else {
        0
    };
    // SAFETY: no pointers.
    check(unsafe { libc::fallocate(fd, mode, 0, file_position(length)?) }).map(drop)
}

/// Makes everything durable that was written to the file system of this file.
pub(crate) fn sync_file_system(fd: RawFd) -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::syncfs(fd) }).map(drop)
}

/// What memory of a direct write or read must be aligned to, if the kernel says.
pub(crate) fn direct_memory_alignment(fd: RawFd) -> Option<usize> {
    let mut facts = MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: the path is empty and ends with a zero byte; `facts` is large enough for the answer.
    let asked = check(unsafe {
        libc::statx(
            fd,
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            libc::STATX_DIOALIGN,
            facts.as_mut_ptr(),
        )
    });
    asked.ok()?;
    // SAFETY: statx filled the structure, for it returned success; all its fields are numbers.
    let facts = unsafe { facts.assume_init() };
    if facts.stx_mask & libc::STATX_DIOALIGN == 0 {
        return None;
    }
    let both = facts.stx_dio_mem_align.max(facts.stx_dio_offset_align);
    usize::try_from(both)
        .ok()
        .filter(|alignment| *alignment > 0)
}

/// The first `length` bytes of a file as memory that can be written to.
pub(crate) fn map_shared(fd: RawFd, length: usize) -> io::Result<NonNull<u8>> {
    // SAFETY: a mapping at an address of the kernel's choice touches no memory of ours.
    let start = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            length,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            fd,
            0,
        )
    };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(start.cast()).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
}

/// Positions at which a file may be mapped are multiples of this, whatever the machine's pages are.
pub(crate) const PAGE_BYTES: u64 = 64 << 10;

/// `length` bytes of a file from `position` on, a multiple of [`PAGE_BYTES`], as memory to read.
pub(crate) fn map_to_read(fd: RawFd, position: u64, length: usize) -> io::Result<NonNull<u8>> {
    let position = file_position(position)?;
    // SAFETY: a mapping at an address of the kernel's choice touches no memory of ours.
    let start = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            length,
            libc::PROT_READ,
            libc::MAP_SHARED,
            fd,
            position,
        )
    };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(start.cast()).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
}

/// Reads all pages of a mapping, and keeps them in memory until it ends; an error if the device
/// could not read one, or so many may not be kept.
pub(crate) fn lock_mapped(start: *mut u8, length: usize) -> io::Result<()> {
    // SAFETY: advice and lock change no content; the caller owns the mapping.
    unsafe { libc::madvise(start.cast(), length, libc::MADV_WILLNEED) };
    // SAFETY: as above.
    check(unsafe { libc::mlock(start.cast(), length) }).map(drop)
}

/// Ends a mapping of [`map_shared`] or [`map_to_read`]; nobody may have a reference into it.
pub(crate) fn unmap(start: *mut u8, length: usize) {
    // SAFETY: the caller made this very mapping and gives it up.
    unsafe { libc::munmap(start.cast(), length) };
}

/// Lets go of the addresses of a shared mapping's pages; their content stays in the file.
pub(crate) fn forget_mapped(start: *mut u8, length: usize) {
    // SAFETY: in a shared mapping of a file no content is lost: the next access finds it again.
    unsafe { libc::madvise(start.cast(), length, libc::MADV_DONTNEED) };
}

/// Asks for huge pages under a piece of memory; nothing is lost where there are none.
pub(crate) fn prefer_huge_pages(start: *mut u8, length: usize) {
    // SAFETY: the advice changes no content; the caller owns the memory.
    unsafe { libc::madvise(start.cast(), length, libc::MADV_HUGEPAGE) };
}

/// Locks the open file for us alone, without waiting; `false` when somebody else has it.
pub(crate) fn lock_exclusively(fd: RawFd) -> io::Result<bool> {
    // SAFETY: no pointers.
    match check(unsafe { libc::flock(fd, libc::LOCK_EX | libc::LOCK_NB) }) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

/// Gives a lock back.
pub(crate) fn unlock(fd: RawFd) {
    // SAFETY: no pointers. Unlocking what we locked cannot fail.
    unsafe { libc::flock(fd, libc::LOCK_UN) };
}

/// Free bytes for an unprivileged writer, and total bytes, of the file system under `path`.
pub(crate) fn space(path: &std::ffi::CStr) -> io::Result<(u64, u64)> {
    let mut facts = MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: `path` ends with a zero byte; `facts` is large enough for the answer.
    check(unsafe { libc::statvfs(path.as_ptr(), facts.as_mut_ptr()) })?;
    // SAFETY: statvfs filled the structure, for it returned success.
    let facts = unsafe { facts.assume_init() };
    let unit = facts.f_frsize;
    Ok((
        facts.f_bavail.saturating_mul(unit),
        facts.f_blocks.saturating_mul(unit),
    ))
}

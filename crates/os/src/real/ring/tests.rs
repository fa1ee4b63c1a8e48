//! Memory, descriptors and numbers that the kernel still knows are not used again (hazard L9).
//! A pipe plays the slow device: a read from an empty one ends when the test says so.

use std::{
    future::Future,
    io::Write,
    os::unix::net::UnixStream,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Wake,
};

use super::*;

const LENGTH: usize = 64;

type Memory = Rc<RefCell<Box<[u8; LENGTH]>>>;

/// What a read from an empty pipe was lent, and a witness of who still holds it.
struct Lent {
    pipe: io::PipeReader,
    memory: Memory,
}

impl Lent {
    fn new(pipe: io::PipeReader) -> Self {
        Self {
            pipe,
            memory: Rc::new(RefCell::new(Box::new([0; LENGTH]))),
        }
    }

    /// Hands a read of the pipe to `ring`; gives what waits for it, and the witness.
    fn read(self, ring: &Rc<Ring>) -> (Pending<Self>, Memory) {
        let memory = self.memory.clone();
        let place = memory.borrow_mut().as_mut_ptr();
        let read = opcode::Read::new(types::Fd(self.pipe.as_raw_fd()), place, LENGTH as u32);
        (ring.operate(read.build(), self, None), memory)
    }
}

fn is_open(fd: RawFd) -> bool {
    std::path::Path::new(&format!("/proc/self/fd/{fd}")).exists()
}

/// Lets the kernel end what it can end, until `done`.
fn pump_until(ring: &Ring, done: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    loop {
        ring.pump();
        if done() {
            return;
        }
        assert!(
            std::time::Instant::now() < deadline,
            "the kernel owes us an answer"
        );
        ring.wait(Some(Duration::from_secs(1)));
    }
}

#[test]
fn memory_of_a_dropped_operation_is_held_until_its_completion() {
    let ring = Rc::new(Ring::new(8).unwrap());
    for when in ["before it is submitted", "while the kernel has it"] {
        let (pipe, mut other_end) = io::pipe().unwrap();
        let fd = pipe.as_raw_fd();
        let (pending, memory) = Lent::new(pipe).read(&ring);
        if when == "while the kernel has it" {
            ring.pump();
        }
        drop(pending);
        ring.pump();
        assert_eq!(Rc::strong_count(&memory), 2, "freed {when}");
        assert!(is_open(fd), "closed {when}");

        other_end.write_all(&[7; LENGTH]).unwrap();
        pump_until(&ring, || Rc::strong_count(&memory) == 1);
        assert_eq!(**memory.borrow(), [7; LENGTH], "the kernel wrote elsewhere");
    }
}

#[test]
fn ring_waits_for_its_operations_before_it_is_gone() {
    let ring = Rc::new(Ring::new(8).unwrap());
    let (pipe, mut other_end) = io::pipe().unwrap();
    let (pending, memory) = Lent::new(pipe).read(&ring);
    ring.pump();
    drop(pending);
    assert_eq!(Rc::strong_count(&memory), 2);
    let writer = std::thread::spawn(move || other_end.write_all(&[9; LENGTH]));
    drop(ring);
    assert_eq!(Rc::strong_count(&memory), 1);
    assert_eq!(**memory.borrow(), [9; LENGTH]);
    writer.join().unwrap().unwrap();
}

#[derive(Default)]
struct Bell(AtomicUsize);

impl Bell {
    fn rings(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Waits for `socket` to be readable, which it is not yet; `bell` rings when it is.
fn wait_for_bytes(ring: &Rc<Ring>, socket: RawFd, bell: &Arc<Bell>) -> Watch {
    let watch = Watch::new(ring.clone(), socket);
    watch.not_readable();
    assert!(!is_readable(&watch, bell));
    watch
}

fn is_readable(watch: &Watch, bell: &Arc<Bell>) -> bool {
    let waker = Waker::from(bell.clone());
    let waiting = std::pin::pin!(watch.readable());
    waiting.poll(&mut Context::from_waker(&waker)).is_ready()
}

#[test]
fn event_of_a_closed_socket_wakes_nobody_who_got_its_descriptor() {
    let ring = Rc::new(Ring::new(8).unwrap());
    let (socket, mut peer) = UnixStream::pair().unwrap();
    let (successor, mut peer_of_successor) = UnixStream::pair().unwrap();
    let (old_bell, bell) = <(Arc<Bell>, Arc<Bell>)>::default();
    let old = wait_for_bytes(&ring, socket.as_raw_fd(), &old_bell);
    ring.pump();

    // The event is on its way when the socket closes and its number goes to another one.
    peer.write_all(b"x").unwrap();
    drop(old);
    // SAFETY: both are open; the number of `socket` now means the successor, and each of the two
    // values still owns a descriptor.
    let taken = unsafe { libc::dup2(successor.as_raw_fd(), socket.as_raw_fd()) };
    assert_eq!(taken, socket.as_raw_fd());
    let watch = wait_for_bytes(&ring, taken, &bell);
    let watches = || {
        let slots = ring.slots.borrow();
        slots.entries.len() - slots.free.len()
    };
    assert_eq!(
        watches(),
        2,
        "a number is free that the kernel may still answer to"
    );
    pump_until(&ring, || watches() == 1);
    assert_eq!(bell.rings(), 0);
    assert!(
        !is_readable(&watch, &bell),
        "woken by its predecessor's bytes"
    );

    peer_of_successor.write_all(b"y").unwrap();
    pump_until(&ring, || bell.rings() > 0);
    assert!(is_readable(&watch, &bell));
}

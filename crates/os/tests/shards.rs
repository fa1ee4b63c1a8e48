//! Shards, their tasks, letters and mail, on the real kernel.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    path::{Path, PathBuf},
    rc::Rc,
    sync::{Arc, Barrier, mpsc},
    time::Duration,
};

use klamm_os::{
    clock,
    exec::{self, Notify, ShardError, ShardPlan, run_shards},
    mailbox::{MailError, mailbox},
    mesh::Mesh,
    stats,
};

fn run_one<R: Send + 'static, Fut: Future<Output = R> + 'static>(
    f: impl Fn() -> Fut + Send + Clone + 'static,
) -> R {
    let shards = run_shards(ShardPlan::new(1), move |_| f()).unwrap();
    shards.join().pop().unwrap().unwrap()
}

/// Folder of the thread with this name in `/proc`.
fn thread_folder(name: &str) -> PathBuf {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let mut folders = tasks.map(|task| task.unwrap().path());
    let is_named = |folder: &PathBuf| {
        let found = std::fs::read_to_string(folder.join("comm"));
        found.unwrap_or_default().trim() == name
    };
    folders.find(is_named).expect("a thread of this name")
}

/// CPU time of a thread in nanoseconds, from the scheduler's own account.
fn cpu_ns(thread: &Path) -> u64 {
    let account = std::fs::read_to_string(thread.join("schedstat")).unwrap();
    account.split(' ').next().unwrap().parse().unwrap()
}

fn is_asleep(thread: &Path) -> bool {
    let stat = std::fs::read_to_string(thread.join("stat")).unwrap();
    let (_, behind_name) = stat.rsplit_once(") ").unwrap();
    behind_name.starts_with('S')
}

#[test]
fn shards_are_named_counted_and_return_their_results_in_order() {
    let shards = run_shards(ShardPlan::new(3), |context| async move {
        let name = std::thread::current().name().map(str::to_owned);
        (context.index, context.shards, name)
    })
    .unwrap();
    let results: Vec<_> = shards.join().into_iter().map(Result::unwrap).collect();
    let expected: Vec<_> = (0..3).map(|n| (n, 3, Some(format!("shard-{n}")))).collect();
    assert_eq!(results, expected);
}

#[test]
fn tasks_that_wait_for_the_side_thread_are_left_alone() {
    const TASKS: usize = 2000;
    let (polls, results) = run_one(|| async {
        let (open, gate) = mpsc::sync_channel::<()>(1);
        let first = exec::spawn_local(exec::spawn_blocking(move || gate.recv().is_err()));
        let polls = Rc::new(Cell::new(0));
        let tasks: Vec<_> = (0..TASKS)
            .map(|number| {
                let polls = Rc::clone(&polls);
                let mut job = Box::pin(exec::spawn_blocking(move || number));
                exec::spawn_local(poll_fn(move |context| {
                    polls.set(polls.get() + 1);
                    job.as_mut().poll(context)
                }))
            })
            .collect();
        for _ in 0..100 {
            exec::yield_now().await;
        }
        let polls = polls.get();
        drop(open);
        assert!(first.await, "the gate was shut until now");
        let mut results = Vec::new();
        for task in tasks {
            results.push(task.await);
        }
        (polls, results)
    });
    assert_eq!(polls, TASKS, "each began its wait once");
    assert_eq!(results, (0..TASKS).collect::<Vec<_>>());
}

#[test]
fn a_shard_is_pinned_when_there_are_enough_cores() {
    let core = exec::choose_cores(1).expect("the host tells its cores")[0];
    let allowed = run_one(|| async {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("Cpus_allowed_list"))
            .unwrap();
        line.split_whitespace().nth(1).unwrap().to_owned()
    });
    assert_eq!(allowed, core.to_string());
}

#[test]
fn side_thread_is_not_bound_to_the_core_of_its_shard() {
    let cores = std::thread::available_parallelism().unwrap();
    let of_side = run_one(|| async {
        exec::spawn_blocking(|| std::thread::available_parallelism().unwrap()).await
    });
    assert_eq!(of_side, cores);
}

#[test]
fn unknown_core_is_refused_by_number() {
    let plan = ShardPlan {
        cores: vec![100_000],
        ..ShardPlan::new(1)
    };
    let refusal = run_shards(plan, |_| async {})
        .err()
        .expect("no host has that core");
    assert!(
        matches!(&refusal, ShardError::Plan(reason) if reason.contains("100000")),
        "{refusal}"
    );
}

#[test]
fn panic_of_a_shard_is_reported_by_its_number() {
    let shards = run_shards(ShardPlan::new(2), |context| async move {
        assert!(context.index != 1, "this panic is part of the test");
    })
    .unwrap();
    let ends = shards.join();
    assert!(matches!(ends[0], Ok(())));
    assert!(
        matches!(ends[1], Err(ShardError::Panicked { shard: 1 })),
        "{:?}",
        ends[1]
    );
}

#[test]
fn bell_rings_are_remembered_as_one_and_wake_the_waiter() {
    run_one(|| async {
        let bell = Rc::new(Notify::new());
        bell.notify();
        bell.notify();
        bell.notified().await;
        assert!(!bell.take());
        let ringer = bell.clone();
        let task = exec::spawn_local(async move { ringer.notify() });
        bell.notified().await;
        task.await;
        assert!(!bell.take());
    });
}

#[test]
fn yielding_lets_every_ready_task_run_once() {
    run_one(|| async {
        let ran = Rc::new(Cell::new(0));
        for _ in 0..10 {
            let ran = ran.clone();
            exec::spawn_local(async move { ran.set(ran.get() + 1) }).detach();
        }
        exec::yield_now().await;
        assert_eq!(ran.get(), 10);
    });
}

#[test]
fn sleep_lasts_at_least_as_long_as_asked() {
    run_one(|| async {
        let before = clock::monotonic();
        exec::sleep(Duration::from_millis(20)).await;
        assert!(clock::monotonic() - before >= Duration::from_millis(20));
    });
}

#[test]
fn blocking_work_runs_beside_the_shard() {
    let name = run_one(|| async {
        let own = std::thread::current().id();
        exec::spawn_blocking(move || std::thread::current().id() != own).await
    });
    assert!(name);
}

#[test]
fn a_million_letters_cross_in_order_and_none_is_lost() {
    const LETTERS: u64 = 1_000_000;
    let mesh = Mesh::<u64>::new(2, 1024);
    let shards = run_shards(ShardPlan::new(2), move |context| {
        let mesh = mesh.clone();
        async move {
            let end = mesh.endpoint(context.index).expect("each shard asks once");
            let peer = 1 - context.index;
            let (mut sent, received) = (0, Cell::new(0));
            while sent < LETTERS || received.get() < LETTERS {
                while sent < LETTERS && end.send(peer, sent).is_ok() {
                    sent += 1;
                }
                end.flush();
                let drained = end.drain(256, |from, letter| {
                    assert_eq!((from, letter), (peer, received.get()));
                    received.set(received.get() + 1);
                });
                if drained == 0 && sent == LETTERS && received.get() < LETTERS {
                    end.wait().await;
                } else {
                    exec::yield_if_needed().await;
                }
            }
            end.flush();
            (received.get(), stats::with(|s| s.peer_wakes.get()))
        }
    })
    .unwrap();
    for end in shards.join() {
        let (received, wakes) = end.unwrap();
        assert_eq!(received, LETTERS);
        assert!(wakes <= LETTERS);
    }
}

#[test]
fn lockstep_letters_never_miss_a_wake() {
    const ROUNDS: u64 = 20_000;
    let mesh = Mesh::<u64>::new(2, 8);
    let shards = run_shards(ShardPlan::new(2), move |context| {
        let mesh = mesh.clone();
        async move {
            let end = mesh.endpoint(context.index).unwrap();
            let peer = 1 - context.index;
            let mut round = 0;
            while round < ROUNDS {
                if context.index == 0 {
                    end.send(peer, round).unwrap();
                    end.flush();
                }
                end.wait().await;
                end.drain(1, |_, letter| assert_eq!(letter, round));
                if context.index == 1 {
                    end.send(peer, round).unwrap();
                    end.flush();
                }
                round += 1;
            }
        }
    })
    .unwrap();
    assert!(shards.join().into_iter().all(|end| end.is_ok()));
}

#[test]
fn full_queue_gives_the_letter_back_and_wakes_the_peer() {
    let mesh = Mesh::<u32>::new(2, 4);
    let shards = run_shards(ShardPlan::new(2), move |context| {
        let mesh = mesh.clone();
        async move {
            let end = mesh.endpoint(context.index).unwrap();
            if context.index == 1 {
                end.wait().await;
                let letters = RefCell::new(Vec::new());
                while letters.borrow().len() < 4 {
                    end.drain(2, |_, letter| letters.borrow_mut().push(letter));
                }
                return letters.into_inner();
            }
            let sent: Vec<_> = (0..5).map(|n| end.send(1, n)).collect();
            assert_eq!(sent, [Ok(()), Ok(()), Ok(()), Ok(()), Err(4)]);
            end.flush();
            Vec::new()
        }
    })
    .unwrap();
    let ends: Vec<_> = shards.join().into_iter().map(Result::unwrap).collect();
    assert_eq!(ends[1], [0, 1, 2, 3]);
}

#[test]
fn letters_to_oneself_arrive() {
    run_one(|| async {
        let end = Mesh::<u8>::new(1, 4).endpoint(0).unwrap();
        end.send(0, 7).unwrap();
        end.flush();
        end.wait().await;
        let mut seen = None;
        end.drain(8, |from, letter| seen = Some((from, letter)));
        assert_eq!(seen, Some((0, 7)));
    });
}

#[test]
fn mail_wakes_a_sleeping_shard_which_used_no_time_before() {
    let (sender, mailbox) = mailbox::<(u32, mpsc::SyncSender<u32>)>(4);
    let mailbox = Arc::new(std::sync::Mutex::new(Some(mailbox)));
    let ready = Arc::new(Barrier::new(2));
    let there = ready.clone();
    let plan = ShardPlan::new(1);
    let shards = run_shards(plan, move |_| {
        let mailbox = mailbox.lock().unwrap().take().unwrap();
        let ready = there.clone();
        async move {
            // A name of its own: other tests of this process have shards, too.
            std::fs::write("/proc/thread-self/comm", "idle-shard").unwrap();
            ready.wait();
            while let Some((number, answer)) = mailbox.receive().await {
                answer.send(number + 1).unwrap();
            }
        }
    })
    .unwrap();
    ready.wait();
    let ask = |number| {
        let (answer, answers) = mpsc::sync_channel(1);
        sender.send((number, answer)).unwrap();
        answers.recv().unwrap()
    };
    assert_eq!(ask(1), 2);
    let thread = thread_folder("idle-shard");
    while !is_asleep(&thread) {
        std::thread::yield_now();
    }
    let before = cpu_ns(&thread);
    // The quiet time is what is measured here: it is no means of synchronisation.
    std::thread::sleep(Duration::from_millis(300));
    let used = cpu_ns(&thread) - before;
    assert!(used < 1_000_000, "an idle shard used {used} ns in 300 ms");
    for number in 0..1000 {
        assert_eq!(ask(number), number + 1);
    }
    drop(sender);
    assert!(shards.join().pop().unwrap().is_ok());
}

#[test]
fn full_and_closed_mailboxes_give_the_message_back() {
    let (sender, mailbox) = mailbox::<u8>(2);
    assert_eq!(sender.send(1), Ok(()));
    assert_eq!(sender.send(2), Ok(()));
    assert_eq!(sender.send(3), Err(MailError::Full(3)));
    assert_eq!(mailbox.try_receive(), Some(1));
    assert_eq!(sender.send(3), Ok(()));
    drop(mailbox);
    assert_eq!(sender.send(4), Err(MailError::Closed(4)));
}

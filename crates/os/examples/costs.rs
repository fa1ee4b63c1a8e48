//! Measures what this room costs on this machine: round trips, wakes, sends, flushes, idle memory.
//! Run: `cargo run --release -p klamm-os --example costs`. Single figures of a noisy machine.

use std::{
    collections::VecDeque,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use klamm_os::{
    alloc,
    disk::{AppendFile, BlockFile, Caching},
    exec::{self, ShardPlan, run_shards},
    mailbox::mailbox,
    mesh::Mesh,
    net::{Listener, ListenerOptions, SocketOptions, Stream, connect},
    stats,
};

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const MESSAGE: usize = 128;

fn main() -> Outcome<()> {
    alloc::keep_memory();
    println!(
        "idle, 2 shards: {} KiB resident more than before",
        idle_memory()?
    );
    println!(
        "letter ping-pong, 2 shards: {:.1} us a round trip",
        letter_round_trip()?
    );
    println!(
        "mail to a sleeping shard and back: {:.1} us",
        mail_round_trip()?
    );
    println!(
        "{MESSAGE} B ping-pong, 2 shards: {:.1} us a round trip",
        shard_ping_pong()?
    );
    for (connections, in_flight) in [(1, 1), (4, 5), (64, 1), (1000, 1)] {
        served_requests(connections, in_flight)?;
    }
    for bytes in [1 << 20, 64 << 10, 16 << 10] {
        sends(bytes)?;
    }
    let folder = std::env::args().nth(1).unwrap_or_else(|| ".".to_owned());
    disk(std::path::PathBuf::from(folder))
}

fn resident_kib() -> Outcome<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .ok_or("no VmRSS")?;
    Ok(line.split_whitespace().nth(1).ok_or("no number")?.parse()?)
}

/// CPU time of the calling thread, in nanoseconds.
fn own_cpu_ns() -> u64 {
    let account = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    account
        .split(' ')
        .next()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}

fn first_error<R>(ends: Vec<Result<Outcome<R>, exec::ShardError>>) -> Outcome<Vec<R>> {
    let ends: Result<Vec<Outcome<R>>, exec::ShardError> = ends.into_iter().collect();
    ends?.into_iter().collect()
}

fn idle_memory() -> Outcome<u64> {
    let before = resident_kib()?;
    let (sender, mailboxes): (Vec<_>, Vec<_>) = (0..2).map(|_| mailbox::<()>(1)).unzip();
    let mailboxes: Vec<_> = mailboxes
        .into_iter()
        .map(|m| std::sync::Mutex::new(Some(m)))
        .collect();
    let mailboxes = std::sync::Arc::new(mailboxes);
    let shards = run_shards(ShardPlan::new(2), move |context| {
        let own = mailboxes[context.index]
            .lock()
            .ok()
            .and_then(|mut own| own.take());
        async move {
            if let Some(mailbox) = own {
                while mailbox.receive().await.is_some() {}
            }
        }
    })?;
    std::thread::sleep(Duration::from_millis(100));
    let after = resident_kib()?;
    drop(sender);
    shards.join();
    Ok(after - before)
}

fn letter_round_trip() -> Outcome<f64> {
    const ROUNDS: u32 = 30_000;
    let mesh = Mesh::<u32>::new(2, 8);
    let shards = run_shards(ShardPlan::new(2), move |context| {
        let mesh = mesh.clone();
        async move {
            let end = mesh.endpoint(context.index).ok_or("endpoint taken")?;
            let start = Instant::now();
            for round in 0..ROUNDS {
                if context.index == 0 {
                    end.send(1, round).map_err(|_| "full")?;
                    end.flush();
                }
                end.wait().await;
                end.drain(1, |_, _| {});
                if context.index == 1 {
                    end.send(0, round).map_err(|_| "full")?;
                    end.flush();
                }
            }
            Outcome::Ok(start.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS))
        }
    })?;
    Ok(first_error(shards.join())?[0])
}

fn mail_round_trip() -> Outcome<f64> {
    const ROUNDS: u32 = 10_000;
    let (sender, mailbox) = mailbox::<std::sync::mpsc::SyncSender<()>>(4);
    let mailbox = std::sync::Arc::new(std::sync::Mutex::new(Some(mailbox)));
    let shards = run_shards(ShardPlan::new(1), move |_| {
        let own = mailbox.lock().ok().and_then(|mut own| own.take());
        async move {
            if let Some(mailbox) = own {
                while let Some(answer) = mailbox.receive().await {
                    let _ = answer.send(());
                }
            }
        }
    })?;
    let start = Instant::now();
    for _ in 0..ROUNDS {
        let (answer, answers) = std::sync::mpsc::sync_channel(1);
        sender.send(answer).map_err(|_| "full")?;
        answers.recv()?;
    }
    let each = start.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS);
    drop(sender);
    shards.join();
    Ok(each)
}

async fn read_some(stream: &Stream, buffer: &mut BytesMut) -> Outcome<usize> {
    loop {
        stream.readable().await;
        buffer.reserve(16 << 10);
        if let Some(read) = stream.try_read(buffer)? {
            return Ok(read);
        }
    }
}

async fn echo(stream: Stream) -> Outcome<u64> {
    let mut buffer = BytesMut::new();
    let mut requests = 0;
    loop {
        if read_some(&stream, &mut buffer).await? == 0 {
            return Ok(requests);
        }
        let mut queue = VecDeque::new();
        while buffer.len() >= MESSAGE {
            requests += 1;
            queue.push_back(buffer.split_to(MESSAGE).freeze());
        }
        stream.write_gathered(&mut queue).await?;
    }
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn shard_ping_pong() -> Outcome<f64> {
    const ROUNDS: u32 = 20_000;
    let mesh = Mesh::<SocketAddr>::new(2, 8);
    let shards = run_shards(ShardPlan::new(2), move |context| {
        let mesh = mesh.clone();
        async move {
            let end = mesh.endpoint(context.index).ok_or("endpoint taken")?;
            if context.index == 0 {
                let listener = Listener::bind(loopback(), ListenerOptions::default())?;
                end.send(1, listener.local_addr()?).map_err(|_| "full")?;
                end.flush();
                let (socket, _) = listener.accept().await?;
                echo(Stream::from_socket(socket)).await?;
                return Ok(0.0);
            }
            end.wait().await;
            let mut address = None;
            end.drain(1, |_, sent| address = Some(sent));
            let address = address.ok_or("no address")?;
            let stream = connect(address, &SocketOptions::default()).await?;
            let message = Bytes::from(vec![7; MESSAGE]);
            let mut buffer = BytesMut::new();
            let start = Instant::now();
            for _ in 0..ROUNDS {
                stream
                    .write_gathered(&mut VecDeque::from([message.clone()]))
                    .await?;
                while buffer.len() < MESSAGE {
                    read_some(&stream, &mut buffer).await?;
                }
                buffer.clear();
            }
            Outcome::Ok(start.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS))
        }
    })?;
    Ok(first_error(shards.join())?[1])
}

/// Serves clients on plain threads' blocking sockets from one shard; prints its CPU a request.
fn served_requests(connections: usize, in_flight: usize) -> Outcome<()> {
    let rounds = (60_000 / connections).clamp(50, 20_000);
    let shards = run_shards(ShardPlan::new(1), move |_| async move {
        let options = ListenerOptions {
            backlog: 4096,
            ..ListenerOptions::default()
        };
        let listener = Listener::bind(loopback(), options)?;
        let address = listener.local_addr()?;
        let clients = exec::spawn_blocking(move || ask(address, connections, in_flight, rounds));
        let clients = exec::spawn_local(clients);
        let mut streams = Vec::new();
        for _ in 0..connections {
            let (socket, _) = listener.accept().await?;
            streams.push(exec::spawn_local(echo(Stream::from_socket(socket))));
        }
        let (start, before) = (Instant::now(), own_cpu_ns());
        let count = |s: &stats::Stats| (s.receives.get() + s.sends.get(), s.ring_enters.get());
        let (calls, enters) = stats::with(count);
        let mut requests = 0;
        for stream in streams {
            requests += stream.await?;
        }
        let cpu = (own_cpu_ns() - before) as f64 / 1e3 / requests as f64;
        let rate = requests as f64 / start.elapsed().as_secs_f64();
        let (calls_now, enters_now) = stats::with(count);
        println!(
            "{MESSAGE} B echo, {connections} x {in_flight} in flight: {cpu:.2} us of shard CPU a \
             request, {rate:.0} requests/s, {:.2} socket calls and {:.2} ring enters a request",
            (calls_now - calls) as f64 / requests as f64,
            (enters_now - enters) as f64 / requests as f64,
        );
        clients.await?;
        Outcome::Ok(())
    })?;
    first_error(shards.join()).map(drop)
}

fn ask(address: SocketAddr, connections: usize, in_flight: usize, rounds: usize) -> Outcome<()> {
    let mut streams = Vec::new();
    for _ in 0..connections {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        streams.push(stream);
    }
    let message = vec![7; MESSAGE * in_flight];
    let mut answer = message.clone();
    for _ in 0..rounds {
        for stream in &mut streams {
            stream.write_all(&message)?;
        }
        for stream in &mut streams {
            stream.read_exact(&mut answer)?;
        }
    }
    Ok(())
}

fn sends(bytes: usize) -> Outcome<()> {
    const TOTAL: usize = 4 << 30;
    let shards = run_shards(ShardPlan::new(1), move |_| async move {
        let listener = Listener::bind(loopback(), ListenerOptions::default())?;
        let address = listener.local_addr()?;
        let reader = exec::spawn_blocking(move || -> Outcome<u64> {
            let mut peer = TcpStream::connect(address)?;
            let mut buffer = vec![0; 1 << 20];
            let before = own_cpu_ns();
            while peer.read(&mut buffer)? > 0 {}
            Ok(own_cpu_ns() - before)
        });
        let reader = exec::spawn_local(reader);
        let (socket, _) = listener.accept().await?;
        let stream = Stream::from_socket(socket);
        let block = Bytes::from(vec![7; bytes]);
        let (start, before) = (Instant::now(), own_cpu_ns());
        for _ in 0..TOTAL / (1 << 20) {
            let mut queue: VecDeque<Bytes> =
                std::iter::repeat_n(block.clone(), (1 << 20) / bytes).collect();
            stream.write_gathered(&mut queue).await?;
        }
        let gib = TOTAL as f64 / (1_u64 << 30) as f64;
        let cpu = (own_cpu_ns() - before) as f64 / 1e9 / gib;
        let speed = gib / start.elapsed().as_secs_f64();
        stream.shutdown(std::net::Shutdown::Write)?;
        let reader = reader.await? as f64 / 1e9 / gib;
        println!(
            "gathered sends of {bytes} B slices, 1 MiB a call: {speed:.1} GiB/s, {cpu:.3} CPU-s a \
             GiB (blocking reader: {reader:.3})"
        );
        Outcome::Ok(())
    })?;
    first_error(shards.join()).map(drop)
}

fn disk(folder: std::path::PathBuf) -> Outcome<()> {
    let shards = run_shards(ShardPlan::new(1), move |_| {
        let (log, segment) = (folder.join("costs.wal"), folder.join("costs.segment"));
        async move {
            let file = AppendFile::open(&log, 64 << 20)?;
            let block = vec![7_u8; 1 << 20];
            for position in 0..64_u64 {
                file.write_at(position << 20, &[&block])?;
            }
            file.flush().await?;
            for bytes in [4 << 10, 64 << 10, 1 << 20] {
                let (mut write, mut flush) = (Vec::new(), Vec::new());
                for n in 0..200_u64 {
                    let start = Instant::now();
                    file.write_at((n * bytes) % (48 << 20), &[&block[..bytes as usize]])?;
                    write.push(start.elapsed().as_micros());
                    let start = Instant::now();
                    file.flush().await?;
                    flush.push(start.elapsed().as_micros());
                }
                write.sort_unstable();
                flush.sort_unstable();
                println!(
                    "recycled log, {bytes} B: write p50 {} us, flush p50 {} us, p99 {} us",
                    write[100], flush[100], flush[198]
                );
            }
            let file = BlockFile::open(&segment, 0, 1 << 30, Caching::Direct)?;
            let shared = Bytes::from(block);
            let (start, before) = (Instant::now(), own_cpu_ns());
            for n in 0..256 {
                file.write_at(n << 20, vec![shared.clone()]).await?;
            }
            let cpu = (own_cpu_ns() - before) as f64 / 1e9 * 4.0;
            let seconds = start.elapsed().as_secs_f64();
            println!(
                "segment, {:?}, 1 MiB appends: {:.2} GiB/s, {cpu:.3} shard CPU-s a GiB",
                file.caching(),
                0.25 / seconds
            );
            std::fs::remove_file(&log)?;
            std::fs::remove_file(&segment)?;
            Outcome::Ok(())
        }
    })?;
    first_error(shards.join()).map(drop)
}

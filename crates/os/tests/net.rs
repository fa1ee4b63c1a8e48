//! Sockets on the real kernel, over loopback.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    collections::VecDeque,
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    rc::Rc,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use klamm_os::{
    exec::{self, ShardPlan, run_shards},
    mesh::Mesh,
    net::{BindError, Listener, ListenerOptions, Socket, SocketOptions, Stream, connect},
    stats,
};

fn run_one<R: Send + 'static, Fut: Future<Output = R> + 'static>(
    f: impl Fn() -> Fut + Send + Clone + 'static,
) -> R {
    let shards = run_shards(ShardPlan::new(1), move |_| f()).unwrap();
    shards.join().pop().unwrap().unwrap()
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn listen() -> (Listener, SocketAddr) {
    let listener = Listener::bind(loopback(), ListenerOptions::default()).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Both ends of a connection, as streams of this shard.
async fn pair() -> (Stream, Stream) {
    let (listener, address) = listen();
    let client = connect(address, &SocketOptions::default()).await.unwrap();
    let (socket, _) = listener.accept().await.unwrap();
    (client, Stream::from_socket(socket))
}

/// Reads until `count` bytes are there, or the end.
async fn read_bytes(stream: &Stream, count: usize) -> BytesMut {
    let mut bytes = BytesMut::new();
    while bytes.len() < count {
        bytes.reserve(4096);
        match stream.try_read(&mut bytes).unwrap() {
            Some(0) => break,
            Some(_) => {}
            None => stream.readable().await,
        }
    }
    bytes
}

fn pieces(count: usize) -> Vec<Bytes> {
    let piece = |n: usize| {
        (0..n % 97 + 1)
            .map(|i| (n * 31 + i) as u8)
            .collect::<Vec<_>>()
    };
    (0..count).map(|n| Bytes::from(piece(n))).collect()
}

#[test]
fn thousands_of_small_slices_reach_a_slow_reader_intact() {
    let (sends, expected) = run_one(|| async {
        let (listener, address) = listen();
        let reader = std::thread::spawn(move || {
            let mut peer = TcpStream::connect(address).unwrap();
            let (mut all, mut some) = (Vec::new(), [0; 1021]);
            loop {
                let read = peer.read(&mut some).unwrap();
                if read == 0 {
                    return all;
                }
                all.extend_from_slice(&some[..read]);
                // Slowness is the claim here, not a means of synchronisation.
                std::thread::sleep(Duration::from_micros(200));
            }
        });
        let (socket, _) = listener.accept().await.unwrap();
        let stream = Stream::from_socket(socket);
        let small = SocketOptions {
            send_buffer_bytes: Some(8192),
            ..SocketOptions::default()
        };
        stream.configure(&small).unwrap();
        let mut queue: VecDeque<Bytes> = pieces(5000).into();
        queue.push_front(Bytes::new());
        queue.push_back(Bytes::new());
        stream.write_gathered(&mut queue).await.unwrap();
        assert!(queue.is_empty());
        stream.shutdown(Shutdown::Write).unwrap();
        let received = exec::spawn_blocking(move || reader.join().unwrap()).await;
        let expected: Vec<u8> = pieces(5000).concat();
        assert!(
            received == expected,
            "received {} of {}",
            received.len(),
            expected.len()
        );
        (
            stats::with(|s| (s.sends.get(), s.not_ready.get())),
            expected.len(),
        )
    });
    let (sends, waits) = sends;
    assert!(
        waits > 0,
        "the reader was not slow enough for {expected} bytes"
    );
    assert!(
        sends < 1000,
        "{sends} sends of 5000 slices: they were not gathered"
    );
}

#[test]
fn five_thousand_slices_to_a_fast_reader_take_few_calls() {
    let sends = run_one(|| async {
        let (near, far) = pair().await;
        let mut queue: VecDeque<Bytes> = pieces(5000).into();
        let expected = pieces(5000).concat();
        let wanted = expected.len();
        let reader = exec::spawn_local(async move { read_bytes(&far, wanted).await });
        near.write_gathered(&mut queue).await.unwrap();
        assert!(reader.await[..] == expected[..]);
        stats::with(|s| s.sends.get())
    });
    assert!(sends <= 12, "{sends} calls");
}

#[test]
fn waiting_reader_wakes_for_each_request_and_sees_the_end() {
    run_one(|| async {
        let (client, server) = pair().await;
        let echo = exec::spawn_local(async move {
            let mut buffer = BytesMut::new();
            let mut requests = 0;
            loop {
                server.readable().await;
                buffer.reserve(64);
                match server.try_read(&mut buffer).unwrap() {
                    None => {}
                    Some(0) => return requests,
                    Some(_) => {
                        requests += 1;
                        let mut queue = VecDeque::from([buffer.split().freeze()]);
                        server.write_gathered(&mut queue).await.unwrap();
                    }
                }
            }
        });
        for round in 0..500_u32 {
            let message = Bytes::copy_from_slice(&round.to_be_bytes());
            client
                .write_gathered(&mut VecDeque::from([message.clone()]))
                .await
                .unwrap();
            assert_eq!(read_bytes(&client, 4).await, message);
        }
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(echo.await, 500);
    });
}

#[test]
fn data_and_end_that_came_before_the_stream_are_seen() {
    run_one(|| async {
        let (listener, address) = listen();
        let mut peer = TcpStream::connect(address).unwrap();
        peer.write_all(b"early").unwrap();
        drop(peer);
        let (socket, _) = listener.accept().await.unwrap();
        assert_eq!(read_bytes(&Stream::from_socket(socket), 100).await, "early");
    });
}

#[test]
fn end_that_comes_together_with_the_last_bytes_is_seen() {
    run_one(|| async {
        let (client, server) = pair().await;
        let reader = exec::spawn_local(async move {
            let first = read_bytes(&server, 1).await;
            let mut queue = VecDeque::from([first.freeze()]);
            server.write_gathered(&mut queue).await.unwrap();
            let mut bytes = BytesMut::with_capacity(4096);
            loop {
                server.readable().await;
                if server.try_read(&mut bytes).unwrap() == Some(0) {
                    return bytes;
                }
            }
        });
        let one = |text: &'static str| VecDeque::from([Bytes::from_static(text.as_bytes())]);
        client.write_gathered(&mut one("?")).await.unwrap();
        // The reader has answered and waits, with a poll that is armed.
        read_bytes(&client, 1).await;
        client.write_gathered(&mut one("last")).await.unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(reader.await, "last");
    });
}

#[test]
fn close_from_another_task_ends_the_waiting_reader_and_writer() {
    run_one(|| async {
        let (client, server) = pair().await;
        let server = Rc::new(server);
        let reader = exec::spawn_local({
            let server = server.clone();
            async move { read_bytes(&server, 1).await.len() }
        });
        let writer = exec::spawn_local({
            let server = server.clone();
            async move {
                let block = Bytes::from(vec![0; 1 << 20]);
                let mut queue: VecDeque<Bytes> = std::iter::repeat_n(block, 64).collect();
                server.write_gathered(&mut queue).await.unwrap_err().kind()
            }
        });
        for _ in 0..10 {
            exec::yield_now().await;
        }
        server.close();
        assert_eq!(reader.await, 0);
        assert_eq!(writer.await, ErrorKind::NotConnected);
        drop(server);
        // The peer learns of it although a poll was armed in the kernel.
        let mut buffer = BytesMut::with_capacity(1 << 20);
        loop {
            buffer.clear();
            match client.try_read(&mut buffer) {
                Ok(Some(0)) | Err(_) => break,
                Ok(Some(_)) => {}
                Ok(None) => client.readable().await,
            }
        }
    });
}

#[test]
fn bytes_of_a_send_cut_off_by_a_close_are_with_the_peer_or_still_queued() {
    run_one(|| async {
        let (client, server) = pair().await;
        let server = Rc::new(server);
        let sent: Vec<Bytes> = (0..64_usize)
            .map(|n| (0..1 << 18).map(|i| (n + i) as u8).collect())
            .collect();
        let whole = sent.concat();
        let writer = exec::spawn_local({
            let server = server.clone();
            async move {
                let mut queue = VecDeque::from(sent);
                let error = server.write_gathered(&mut queue).await.unwrap_err();
                (error.kind(), queue)
            }
        });
        // The peer takes nothing, so the send blocks in the middle.
        while stats::with(|s| s.not_ready.get()) == 0 {
            exec::yield_now().await;
        }
        server.close();
        let (kind, queue) = writer.await;
        assert_eq!(kind, ErrorKind::NotConnected);
        drop(server);
        let mut found = read_bytes(&client, whole.len()).await;
        assert!(found.len() < whole.len(), "nothing was in flight");
        queue.iter().for_each(|rest| found.extend_from_slice(rest));
        assert!(found[..] == whole[..]);
    });
}

#[test]
fn dropped_stream_sends_the_end_although_it_was_watched() {
    run_one(|| async {
        let (client, server) = pair().await;
        let reader = exec::spawn_local(async move { read_bytes(&server, 1).await });
        for _ in 0..10 {
            exec::yield_now().await;
        }
        assert!(reader.cancel().is_none());
        assert!(read_bytes(&client, 1).await.is_empty());
    });
}

#[test]
fn stream_dropped_while_bytes_arrive_is_closed() {
    run_one(|| async {
        for _ in 0..20 {
            let (listener, address) = listen();
            let mut peer = TcpStream::connect(address).unwrap();
            let limit = Some(Duration::from_secs(10));
            peer.set_read_timeout(limit).unwrap();
            let (socket, _) = listener.accept().await.unwrap();
            let stream = Stream::from_socket(socket);
            let reader = exec::spawn_local(async move { read_bytes(&stream, 1).await });
            for _ in 0..3 {
                exec::yield_now().await;
            }
            // From here the kernel has an event that this shard has not seen.
            peer.write_all(b"bytes").unwrap();
            assert!(reader.cancel().is_none());
            let end = exec::spawn_blocking(move || peer.read(&mut [0; 1])).await;
            let is_end = end.as_ref().map_or_else(
                |error| error.kind() == ErrorKind::ConnectionReset,
                |read| *read == 0,
            );
            assert!(is_end, "{end:?}");
        }
    });
}

#[test]
fn dropped_read_loses_no_byte() {
    run_one(|| async {
        let (client, server) = pair().await;
        let server = Rc::new(server);
        for round in 0..50_u8 {
            let waiting = exec::spawn_local({
                let server = server.clone();
                async move {
                    assert_eq!(
                        server.try_read(&mut BytesMut::with_capacity(8)).unwrap(),
                        None
                    );
                    server.readable().await;
                }
            });
            exec::yield_now().await;
            let message = Bytes::copy_from_slice(&[round]);
            client
                .write_gathered(&mut VecDeque::from([message]))
                .await
                .unwrap();
            drop(waiting);
            assert_eq!(read_bytes(&server, 1).await[..], [round]);
        }
    });
}

#[test]
fn taken_port_is_named_in_the_error() {
    run_one(|| async {
        let (_held, address) = listen();
        let error = Listener::bind(address, ListenerOptions::default())
            .err()
            .unwrap();
        assert!(matches!(error, BindError::InUse(taken) if taken == address));
        assert!(error.to_string().contains(&address.to_string()));
    });
}

#[test]
fn port_is_free_again_after_the_listener_is_dropped_with_connections_open() {
    run_one(|| async {
        let (listener, address) = listen();
        let client = connect(address, &SocketOptions::default()).await.unwrap();
        let (socket, _) = listener.accept().await.unwrap();
        let accepting = exec::spawn_local(async move {
            let refused = listener.accept().await;
            drop(refused);
        });
        exec::yield_now().await;
        assert!(accepting.cancel().is_none());
        exec::pump();
        let again = Listener::bind(address, ListenerOptions::default()).unwrap();
        assert_eq!(again.local_addr().unwrap(), address);
        drop((client, socket));
    });
}

#[test]
fn closed_listener_ends_the_waiting_accept() {
    run_one(|| async {
        let (listener, _) = listen();
        let listener = Rc::new(listener);
        let accepting = exec::spawn_local({
            let listener = listener.clone();
            async move { listener.accept().await.unwrap_err().kind() }
        });
        exec::yield_now().await;
        listener.close();
        assert_eq!(accepting.await, ErrorKind::NotConnected);
    });
}

#[test]
fn refused_connection_is_an_error() {
    run_one(|| async {
        let (listener, address) = listen();
        drop(listener);
        exec::pump();
        let error = connect(address, &SocketOptions::default())
            .await
            .err()
            .unwrap();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn socket_accepted_by_one_shard_is_served_by_another() {
    let mesh = Mesh::<Socket>::new(2, 8);
    let shards = run_shards(ShardPlan::new(2), move |context| {
        let mesh = mesh.clone();
        async move {
            let end = mesh.endpoint(context.index).unwrap();
            if context.index == 0 {
                let (listener, address) = listen();
                let client = connect(address, &SocketOptions::default()).await.unwrap();
                let (socket, peer) = listener.accept().await.unwrap();
                assert_eq!(peer, client.local_addr().unwrap());
                end.send(1, socket).unwrap();
                end.flush();
                return read_bytes(&client, 5).await.to_vec();
            }
            end.wait().await;
            let mut moved = None;
            end.drain(1, |_, socket| moved = Some(socket));
            let stream = Stream::from_socket(moved.unwrap());
            let mut queue = VecDeque::from([Bytes::from_static(b"hello")]);
            stream.write_gathered(&mut queue).await.unwrap();
            Vec::new()
        }
    })
    .unwrap();
    let ends: Vec<_> = shards.join().into_iter().map(Result::unwrap).collect();
    assert_eq!(ends[0], b"hello");
}

#[test]
fn hundreds_of_connections_at_once_are_all_served() {
    run_one(|| async {
        let (listener, address) = listen();
        let server = exec::spawn_local(async move {
            for _ in 0..300 {
                let (socket, _) = listener.accept().await.unwrap();
                exec::spawn_local(async move {
                    let stream = Stream::from_socket(socket);
                    let request = read_bytes(&stream, 8).await.freeze();
                    stream
                        .write_gathered(&mut VecDeque::from([request]))
                        .await
                        .unwrap();
                })
                .detach();
            }
        });
        let clients: Vec<_> = (0..300_u64)
            .map(|n| {
                exec::spawn_local(async move {
                    let stream = connect(address, &SocketOptions::default()).await.unwrap();
                    let message = Bytes::copy_from_slice(&n.to_be_bytes());
                    let mut queue = VecDeque::from([message.clone()]);
                    stream.write_gathered(&mut queue).await.unwrap();
                    assert_eq!(read_bytes(&stream, 8).await, message);
                })
            })
            .collect();
        for client in clients {
            client.await;
        }
        server.await;
    });
}

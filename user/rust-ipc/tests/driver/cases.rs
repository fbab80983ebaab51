// SPDX-License-Identifier: GPL-2.0

//! The cases.

use std::{
    fs::File,
    io::Read,
    os::fd::AsFd,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use rust_ipc::{
    Call, Device, Error, Event, Handle, NodeEvent, Payload, Sent, Thread, abi::PtrCookie,
};
use rustix::io::Errno;

use crate::{AREA_BYTES, Fixture, PATIENCE, server};

/// How a case ended that did not fail.
pub enum Verdict {
    Passed,
    Skipped(&'static str),
}

use Verdict::{Passed, Skipped};

pub type Case = fn(&mut Fixture) -> Result<Verdict>;

macro_rules! cases {
    ($($name:ident,)*) => { pub const ALL: &[(&str, Case)] = &[$((stringify!($name), $name),)*]; };
}

cases! {
    open_says_what_is_wrong,
    payloads_of_all_sizes_come_back,
    caller_is_known,
    status_is_an_error,
    unanswered_call_is_answered,
    unknown_handle_is_refused,
    too_large_a_payload_is_refused,
    thread_registers_once,
    nothing_to_receive,
    oneway_messages_come_one_by_one,
    oneway_space_is_limited,
    descriptors_travel_both_ways,
    untaken_descriptors_are_closed,
    server_calls_back,
    node_hears_of_its_references,
    foreign_node_has_a_handle,
    driver_asks_for_threads,
    ended_thread_is_noticed,
    death_is_noticed,
    frozen_server_is_noticed,
    buffers_can_be_held_and_sent_to_other_threads,
    area_info_adds_up,
}

const MANAGER: Handle = Handle::CONTEXT_MANAGER;

fn pattern(len_bytes: usize) -> Vec<u8> {
    (0..len_bytes).map(|i| (i * 31 + i / 251) as u8).collect()
}

fn wait_for<T>(mut check: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = check()? {
            return Ok(found);
        }
        ensure!(Instant::now() < deadline, "it did not happen");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Receives until `wanted` says so.
fn receive_until(thread: &mut Thread, wanted: impl Fn(&Event<'_>) -> bool) -> Result<()> {
    loop {
        ensure!(thread.poll(Some(PATIENCE))?, "no event came");
        if wanted(&thread.receive()?) {
            return Ok(());
        }
    }
}

fn open_says_what_is_wrong(_: &mut Fixture) -> Result<Verdict> {
    let missing = Device::open("/dev/no-such-device").unwrap_err();
    ensure!(missing.errno() == Some(Errno::NOENT), "{missing}");
    let other = Device::open("/dev/null").unwrap_err();
    ensure!(other.errno() == Some(Errno::NOTTY), "{other}");
    Ok(Passed)
}

fn payloads_of_all_sizes_come_back(fixture: &mut Fixture) -> Result<Verdict> {
    let connection = fixture.connect()?;
    let mut thread = connection.thread()?;
    for len_bytes in [0, 1, 7, 8, 100, 4095, 4096, 4097, 65536, 500_001] {
        let sent = pattern(len_bytes);
        let reply = thread.transact(MANAGER, server::ECHO, &Payload::bytes(&sent))?;
        ensure!(reply.bytes() == sent, "{len_bytes} bytes differ");
        let area = connection.area();
        ensure!(area.contains(&reply.address()), "outside of the area");
    }
    Ok(Passed)
}

fn caller_is_known(fixture: &mut Fixture) -> Result<Verdict> {
    let connection = fixture.connect()?;
    let mut thread = connection.thread()?;
    let reply = thread.transact(MANAGER, server::WHO, &Payload::EMPTY)?;
    ensure!(reply.bytes()[..4] == std::process::id().to_ne_bytes());
    Ok(Passed)
}

fn status_is_an_error(fixture: &mut Fixture) -> Result<Verdict> {
    let connection = fixture.connect()?;
    let mut thread = connection.thread()?;
    let status = (-42_i32).to_ne_bytes();
    let error = thread.transact(MANAGER, server::STATUS, &Payload::bytes(&status));
    ensure!(matches!(error, Err(Error::Status(-42))), "{error:?}");
    Ok(Passed)
}

fn unanswered_call_is_answered(fixture: &mut Fixture) -> Result<Verdict> {
    let connection = fixture.connect()?;
    let mut thread = connection.thread()?;
    let error = thread.transact(MANAGER, server::SILENCE, &Payload::EMPTY);
    let canceled = -Errno::CANCELED.raw_os_error();
    ensure!(error.is_err_and(|e| e == Error::Status(canceled)));
    Ok(Passed)
}

fn unknown_handle_is_refused(fixture: &mut Fixture) -> Result<Verdict> {
    let connection = fixture.connect()?;
    let mut thread = connection.thread()?;
    for _ in 0..2 {
        let error = thread.transact(Handle(7777), server::ECHO, &Payload::EMPTY);
        let error = error.err().context("it was accepted")?;
        ensure!(matches!(error, Error::Failed(_)), "{error:?}");
        ensure!(error.errno() == Some(Errno::INVAL), "{error:?}");
        let error = thread.transact_oneway(Handle(7777), server::ECHO, &Payload::EMPTY);
        ensure!(matches!(error, Err(Error::Failed(_))), "{error:?}");
        // A failure leaves nothing behind.
        let reply = thread.transact(MANAGER, server::ECHO, &Payload::bytes(b"still"))?;
        ensure!(reply.bytes() == b"still");
    }
    Ok(Passed)
}

fn too_large_a_payload_is_refused(fixture: &mut Fixture) -> Result<Verdict> {
    let connection = fixture.connect()?;
    let mut thread = connection.thread()?;
    let large = pattern(AREA_BYTES + 1);
    let error = thread.transact(MANAGER, server::ECHO, &Payload::bytes(&large));
    let error = error.err().context("it was accepted")?;
    ensure!(error.errno() == Some(Errno::NOSPC), "{error:?}");
    // As large as fits, into an area of the same size.
    let fits = &large[..AREA_BYTES - 8];
    let reply = thread.transact(MANAGER, server::ECHO, &Payload::bytes(fits))?;
    ensure!(reply.bytes() == fits);
    Ok(Passed)
}

fn thread_registers_once(fixture: &mut Fixture) -> Result<Verdict> {
    let connection = fixture.connect()?;
    let first = connection.thread()?;
    ensure!(matches!(connection.thread(), Err(Error::ThreadInUse)));
    let other = fixture.connect()?;
    other
        .thread()
        .context("another connection is another matter")?;
    drop(first);
    connection.thread()?;
    Ok(Passed)
}

fn nothing_to_receive(fixture: &mut Fixture) -> Result<Verdict> {
    let connection = fixture.connect()?;
    connection.device().set_nonblocking(true)?;
    let mut thread = connection.thread()?;
    thread.enter_looper()?;
    let error = thread.receive().map(drop).err().context("an event")?;
    ensure!(error.errno() == Some(Errno::AGAIN), "{error:?}");
    ensure!(!thread.poll(Some(Duration::from_millis(10)))?);
    // A call waits for its reply although the file does not block.
    let reply = thread.transact(MANAGER, server::ECHO, &Payload::bytes(b"x"))?;
    ensure!(reply.bytes() == b"x");
    Ok(Passed)
}

fn held(thread: &mut Thread) -> Result<u8> {
    let reply = thread.transact(MANAGER, server::HOLD, &Payload::EMPTY)?;
    Ok(reply.bytes()[0])
}

fn oneway_messages_come_one_by_one(fixture: &mut Fixture) -> Result<Verdict> {
    let connection = fixture.connect()?;
    let mut thread = connection.thread()?;
    for word in [&b"one "[..], b"two ", b"three"] {
        let sent = thread.transact_oneway(MANAGER, server::HOLD, &Payload::bytes(word))?;
        ensure!(sent == Sent::Queued);
    }
    let mut words = Vec::new();
    for _ in 0..3 {
        wait_for(|| Ok((held(&mut thread)? == 1).then_some(())))?;
        thread::sleep(Duration::from_millis(20));
        ensure!(held(&mut thread)? == 1, "one is held and another one came");
        let reply = thread.transact(MANAGER, server::RELEASE, &Payload::EMPTY)?;
        words.extend_from_slice(reply.bytes());
    }
    ensure!(words == b"one two three", "{words:?}");
    Ok(Passed)
}

fn oneway_space_is_limited(fixture: &mut Fixture) -> Result<Verdict> {
    let connection = fixture.connect()?;
    let mut thread = connection.thread()?;
    let payload = pattern(AREA_BYTES / 8);
    let mut sent = 0;
    let error = loop {
        match thread.transact_oneway(MANAGER, server::HOLD, &Payload::bytes(&payload)) {
            Ok(_) => sent += 1,
            Err(error) => break error,
        }
        ensure!(sent < 8, "there is no limit");
    };
    ensure!(error.errno() == Some(Errno::NOSPC), "{error:?}");
    ensure!((3..=4).contains(&sent), "half of the area took {sent}");
    // Calls may use the other half.
    thread.transact(MANAGER, server::ECHO, &Payload::bytes(&payload))?;
    for _ in 0..sent {
        wait_for(|| Ok((held(&mut thread)? == 1).then_some(())))?;
        let reply = thread.transact(MANAGER, server::RELEASE, &Payload::EMPTY)?;
        ensure!(reply.bytes() == payload);
    }
    thread.transact_oneway(MANAGER, server::HOLD, &Payload::bytes(&payload))?;
    Ok(Passed)
}

fn descriptors_travel_both_ways(fixture: &mut Fixture) -> Result<Verdict> {
    let connection = fixture.connect()?;
    let mut thread = connection.thread()?;
    let (reader, writer) = rustix::pipe::pipe()?;
    let mut payload = Payload::bytes(b"to write to");
    payload.push_fd(writer.as_fd());
    let mut reply = thread.transact(MANAGER, server::FD, &payload)?;
    drop(payload);
    drop(writer);
    let mut text = String::new();
    // The end of the pipe: the server's descriptor is closed, too.
    File::from(reader).read_to_string(&mut text)?;
    ensure!(text == "ping", "{text:?}");
    let zero = reply.take_fd().context("no descriptor came back")?;
    ensure!(reply.take_fd().is_none());
    drop(reply);
    let mut byte = [1];
    File::from(zero).read_exact(&mut byte)?;
    ensure!(byte == [0]);
    Ok(Passed)
}

fn untaken_descriptors_are_closed(fixture: &mut Fixture) -> Result<Verdict> {
    let connection = fixture.connect()?;
    let mut thread = connection.thread()?;
    let count = |thread: &mut Thread| -> Result<u8> {
        let reply = thread.transact(MANAGER, server::COUNT_FDS, &Payload::EMPTY)?;
        Ok(reply.bytes()[0])
    };
    let before = count(&mut thread)?;
    for _ in 0..5 {
        let null = File::open("/dev/null")?;
        let mut payload = Payload::EMPTY;
        payload.push_fd(null.as_fd()).push_fd(null.as_fd());
        thread.transact(MANAGER, server::ECHO, &payload)?;
    }
    let after = count(&mut thread)?;
    ensure!(
        after == before,
        "{before} descriptors before, {after} after"
    );
    Ok(Passed)
}

fn node_payload(node: PtrCookie) -> Payload<'static> {
    let mut payload = Payload::EMPTY;
    payload.push_node(node, 0);
    payload
}

const NODE: PtrCookie = PtrCookie {
    ptr: 0x1000,
    cookie: 0x2000,
};

fn server_calls_back(fixture: &mut Fixture) -> Result<Verdict> {
    let connection = fixture.connect()?;
    let mut thread = connection.thread()?;
    let mut called = 0;
    let serve = |call: Call<'_>| {
        called += u32::from(call.message().node() == NODE);
        let _ = call.reply_with(|bytes| Payload::bytes(bytes));
    };
    let payload = node_payload(NODE);
    let reply = thread.transact_serving(MANAGER, server::CALL_BACK, &payload, serve)?;
    ensure!(called == 1);
    ensure!(reply.bytes() == b"are you there?", "{:?}", reply.bytes());
    // Without somebody to serve it, the call back fails and so does the call.
    let reply = thread.transact(MANAGER, server::CALL_BACK, &payload);
    ensure!(matches!(reply, Err(Error::Status(_))), "{reply:?}");
    Ok(Passed)
}

fn node_hears_of_its_references(fixture: &mut Fixture) -> Result<Verdict> {
    let connection = fixture.connect()?;
    let mut thread = connection.thread()?;
    thread.enter_looper()?;
    thread.transact(MANAGER, server::KEEP_HANDLE, &node_payload(NODE))?;
    receive_until(&mut thread, |event| {
        matches!(event, Event::Node(NodeEvent::Acquire(NODE)))
    })?;
    let nodes = connection.device().nodes()?;
    ensure!(nodes.len() == 1 && nodes[0].ptr == NODE.ptr && nodes[0].has_strong_ref == 1);
    thread.transact(MANAGER, server::DROP_HANDLE, &Payload::EMPTY)?;
    receive_until(&mut thread, |event| {
        matches!(event, Event::Node(NodeEvent::Release(NODE)))
    })?;
    receive_until(&mut thread, |event| {
        matches!(event, Event::Node(NodeEvent::Decrefs(NODE)))
    })?;
    wait_for(|| Ok(connection.device().nodes()?.is_empty().then_some(())))?;
    Ok(Passed)
}

/// ECHO replies with bytes, so an object comes back as the server saw it.
fn foreign_node_has_a_handle(fixture: &mut Fixture) -> Result<Verdict> {
    let connection = fixture.connect()?;
    let mut thread = connection.thread()?;
    let reply = thread.transact(MANAGER, server::ECHO, &node_payload(NODE))?;
    ensure!(reply.objects().count() == 0);
    let seen = reply.bytes();
    ensure!(seen[..4] == rust_ipc::abi::object::HANDLE.to_ne_bytes());
    ensure!(seen[16..24] == [0; 8], "the cookie is ours alone");
    Ok(Passed)
}

fn driver_asks_for_threads(fixture: &mut Fixture) -> Result<Verdict> {
    // One thread entered by itself.
    let at_once = server::MAX_THREADS as u8 + 1;
    let connection = fixture.connect()?;
    let counts: Vec<Result<u8>> = thread::scope(|scope| {
        let clients: Vec<_> = (0..at_once)
            .map(|_| {
                scope.spawn(|| -> Result<u8> {
                    let mut thread = connection.thread()?;
                    let payload = Payload::bytes(std::slice::from_ref(&at_once));
                    let reply = thread.transact(MANAGER, server::RENDEZVOUS, &payload)?;
                    Ok(reply.bytes()[0])
                })
            })
            .collect();
        clients
            .into_iter()
            .map(|client| client.join().expect("clients do not panic"))
            .collect()
    });
    for count in counts {
        let count = count?;
        ensure!(count == at_once, "only {count} calls were served at once");
    }
    Ok(Passed)
}

fn ended_thread_is_noticed(fixture: &mut Fixture) -> Result<Verdict> {
    let connection = fixture.connect()?;
    let mut thread = connection.thread()?;
    let error = thread.transact(MANAGER, server::END_THREAD, &Payload::EMPTY);
    // The call is dropped before its thread: the caller is answered.
    ensure!(matches!(error, Err(Error::Status(_))), "{error:?}");
    Ok(Passed)
}

fn death_is_noticed(fixture: &mut Fixture) -> Result<Verdict> {
    let connection = fixture.connect()?;
    let mut thread = connection.thread()?;
    thread.enter_looper()?;
    let manager = connection.acquire(MANAGER)?;
    thread.watch_death(manager.handle(), 1)?;
    thread.unwatch_death(manager.handle(), 1)?;
    receive_until(&mut thread, |event| {
        matches!(event, Event::DeathWatchEnded(1))
    })?;
    thread.watch_death(manager.handle(), 2)?;
    let error = thread.transact(MANAGER, server::END, &Payload::EMPTY);
    ensure!(matches!(error, Err(Error::Dead(_))), "{error:?}");
    receive_until(&mut thread, |event| matches!(event, Event::Dead(2)))?;
    let error = thread.transact(MANAGER, server::ECHO, &Payload::EMPTY);
    ensure!(matches!(error, Err(Error::Dead(_))), "{error:?}");
    Ok(Passed)
}

fn frozen_server_is_noticed(fixture: &mut Fixture) -> Result<Verdict> {
    let connection = fixture.connect()?;
    let device = connection.device();
    let mut thread = connection.thread()?;
    thread.enter_looper()?;
    let manager = connection.acquire(MANAGER)?;
    let pid = fixture.server.id();
    let frozen = |wanted| move |event: &Event<'_>| matches!(event, Event::Frozen { cookie: 5, is_frozen } if *is_frozen == wanted);

    // With a handle that is certainly there, so this is about the command.
    match thread.watch_freezing(manager.handle(), 5) {
        Err(error) if error.errno() == Some(Errno::INVAL) => {
            return Ok(Skipped("this driver does not freeze"));
        }
        other => other?,
    }
    receive_until(&mut thread, frozen(false))?;
    device.freeze(pid, Duration::from_secs(1))?;
    receive_until(&mut thread, frozen(true))?;
    let error = thread.transact(MANAGER, server::ECHO, &Payload::EMPTY);
    ensure!(matches!(error, Err(Error::Frozen)), "{error:?}");
    let sent = thread.transact_oneway(MANAGER, server::HOLD, &Payload::bytes(b"later"))?;
    ensure!(sent == Sent::PendingFrozen, "{sent:?}");
    let info = device.frozen_info(pid)?;
    ensure!(info.sync_recv & 1 == 1 && info.async_recv == 1, "{info:?}");

    device.thaw(pid)?;
    receive_until(&mut thread, frozen(false))?;
    wait_for(|| Ok((held(&mut thread)? == 1).then_some(())))?;
    let reply = thread.transact(MANAGER, server::RELEASE, &Payload::EMPTY)?;
    ensure!(reply.bytes() == b"later");
    thread.unwatch_freezing(manager.handle(), 5)?;
    receive_until(&mut thread, |event| {
        matches!(event, Event::FreezeWatchEnded(5))
    })?;
    Ok(Passed)
}

fn buffers_can_be_held_and_sent_to_other_threads(fixture: &mut Fixture) -> Result<Verdict> {
    let connection = fixture.connect()?;
    let mut thread = connection.thread()?;
    for round in 0..50_usize {
        let replies: Vec<_> = (0..8)
            .map(|i| {
                let sent = pattern(10_000 + 13 * (round + i));
                let reply = thread.transact(MANAGER, server::ECHO, &Payload::bytes(&sent))?;
                Ok((sent, reply))
            })
            .collect::<Result<_>>()?;
        thread::spawn(move || replies.iter().all(|(sent, reply)| reply.bytes() == sent))
            .join()
            .expect("nothing panics")
            .then_some(())
            .context("a held buffer changed")?;
    }
    Ok(Passed)
}

fn area_info_adds_up(fixture: &mut Fixture) -> Result<Verdict> {
    let connection = fixture.connect()?;
    let info = match connection.device().area_info() {
        Err(error) if matches!(error.errno(), Some(Errno::INVAL | Errno::NOTTY)) => {
            return Ok(Skipped("this driver does not tell"));
        }
        other => other?,
    };
    let pages = AREA_BYTES as u64 / 4096;
    ensure!(info.start == connection.area().start, "{info:?}");
    ensure!(info.size_bytes == AREA_BYTES as u64, "{info:?}");
    ensure!(
        info.pages_absent == pages && info.live_buffers == 0,
        "{info:?}"
    );

    let mut thread = connection.thread()?;
    let reply = thread.transact(MANAGER, server::ECHO, &Payload::bytes(&pattern(40_960)))?;
    let info = connection.device().area_info()?;
    ensure!((10..=11).contains(&info.pages_in_use), "{info:?}");
    ensure!(info.live_buffers == 1, "{info:?}");
    ensure!(info.pages_in_use + info.pages_idle + info.pages_absent == pages);
    drop(reply);
    let info = connection.device().area_info()?;
    ensure!(info.pages_in_use == 0 && info.live_buffers == 0, "{info:?}");
    ensure!(info.pages_idle + info.pages_absent == pages, "{info:?}");
    ensure!(info.oneway_free_bytes == AREA_BYTES as u64 / 2, "{info:?}");
    Ok(Passed)
}

//! Outputs that take nothing, or not at once.

use super::*;
use std::io::{PipeReader, Read};

/// An output to a pipe that takes nothing more, and the pipe's other end.
fn full_pipe() -> (Arc<Output>, PipeReader) {
    full_pipe_with(CAPACITY)
}

/// The same with so many bytes that were put in.
fn full_pipe_with(bytes: usize) -> (Arc<Output>, PipeReader) {
    let (reader, writer) = std::io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    let output = Output::own(File::from(std::os::fd::OwnedFd::from(writer)));
    output.write(vec![b'-'; bytes]);
    (output, reader)
}

fn text(output: Arc<Output>, mut reader: PipeReader) -> String {
    let reading = std::thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    });
    output.finish(Instant::now() + Duration::from_secs(10));
    output.replace(File::open("/dev/null").unwrap());
    drop(output);
    reading.join().unwrap()
}

#[test]
fn a_pipe_without_reader_blocks_no_thread_and_what_it_lost_is_reported() {
    let (output, reader) = full_pipe();
    for number in 0..3 {
        output.write(format!("lost {number}\n").into_bytes());
    }
    output.flush();
    let text = text(output, reader);
    assert_eq!(CAPACITY, text.find(|character| character != '-').unwrap());
    let report = &text[CAPACITY..];
    assert!(report.ends_with(" - WARN - 3 log lines were lost because the output did not take them\n"), "{report}");
}

#[test]
fn grave_lines_find_room_that_others_cannot_take() {
    let (output, _reader) = full_pipe_with(CAPACITY - RESERVED);
    drop(output.put(b"info\n".to_vec(), false));
    assert_eq!(1, lock(&output.state).lost);
    drop(output.put(b"warning\n".to_vec(), true));
    let state = lock(&output.state);
    assert_eq!(0, state.lost);
    assert!(state.waiting.iter().any(|piece| piece.bytes == b"warning\n"));
}

#[test]
fn only_a_thread_that_may_wait_waits_for_room_and_only_once_for_an_output_that_hangs() {
    let (output, _reader) = full_pipe();
    let wait = |output: &Arc<Output>| {
        let begun = Instant::now();
        output.wait_for_room(5);
        begun.elapsed()
    };
    assert!(wait(&output) < ROOM_TIMEOUT);
    let (first, second) = std::thread::spawn(move || {
        may_wait();
        (wait(&output), wait(&output))
    })
    .join()
    .unwrap();
    assert!(first >= ROOM_TIMEOUT, "{first:?}");
    assert!(second < ROOM_TIMEOUT, "{second:?}");
}

#[test]
fn what_waits_leaves_in_order_as_soon_as_it_is_read() {
    let (reader, writer) = std::io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    let output = Output::own(File::from(std::os::fd::OwnedFd::from(writer)));
    let lines: Vec<_> = (0..20_000).map(|number| format!("line {number}\n")).collect();
    for line in &lines {
        output.write(line.clone().into_bytes());
    }
    assert_eq!(lines.concat(), text(output, reader));
}

#[test]
fn a_device_that_is_full_loses_lines_and_says_so_when_it_has_room() {
    let full = File::options().append(true).open("/dev/full").unwrap();
    let output = Output::own(full);
    output.write(b"lost\n".to_vec());
    output.write(b"lost, too\n".to_vec());
    let (reader, writer) = std::io::pipe().unwrap();
    output.replace(File::from(std::os::fd::OwnedFd::from(writer)));
    output.write(b"here\n".to_vec());
    let text = text(output, reader);
    let (report, rest) = text.split_once('\n').unwrap();
    assert!(report.ends_with("2 log lines were lost because the output did not take them"), "{report}");
    assert_eq!("here\n", rest);
}

#[test]
fn a_reader_that_has_gone_is_no_error() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = Output::own(File::from(std::os::fd::OwnedFd::from(writer)));
    output.write(b"line\n".to_vec());
    assert_eq!(1, lock(&output.state).lost);
}

#[test]
fn deferred_lines_leave_whole_and_in_order_by_the_thread_of_the_output() {
    let (reader, writer) = std::io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    let output = Output::deferred(File::from(std::os::fd::OwnedFd::from(writer)));
    let lines: Vec<_> = (0..20_000).map(|number| format!("line {number}\n")).collect();
    let lost: u64 = lines.iter().map(|line| output.defer(line.as_bytes())).sum();
    assert_eq!((0, lines.concat()), (lost, text(output, reader)));
}

#[test]
fn deferred_lines_that_find_no_room_are_returned_as_a_number_and_not_written_as_a_line() {
    let (reader, writer) = std::io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    let output = Output::deferred(File::from(std::os::fd::OwnedFd::from(writer)));
    let (before, line) = (lost_deferred_lines(), vec![b'-'; 64 * 1024]);
    let lost: u64 = (0..100).map(|_| output.defer(&line)).sum();
    assert!((1..100).contains(&lost), "{lost}");
    assert!(lost_deferred_lines() - before >= lost);
    let text = text(output, reader);
    assert_eq!((100 - lost) * 64 * 1024, text.len() as u64);
    assert!(text.chars().all(|character| character == '-'));
}

#[test]
fn a_line_that_is_not_deferred_does_not_wait_for_more() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    let output = Output::own(File::from(std::os::fd::OwnedFd::from(writer)));
    output.defer(b"deferred\n");
    output.write(b"written\n".to_vec());
    output.flush();
    assert_eq!(Writer::Idle, lock(&output.state).writer);
    let mut text = [0; 17];
    reader.read_exact(&mut text).unwrap();
    assert_eq!(b"deferred\nwritten\n", &text);
}

#[test]
fn a_socket_gets_each_line_as_a_message() {
    let folder = super::super::log_file::tests::Folder::new();
    let address = folder.file("socket");
    assert!(Output::messages(address.clone()).is_err());
    let socket = UnixDatagram::bind(&address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let output = Output::messages(address).unwrap();
    let lost = [&b"one\n"[..], b"two\n"].map(|line| output.defer(line));
    let mut bytes = [0; 100];
    let messages = [(); 2].map(|()| {
        let length = socket.recv(&mut bytes).unwrap();
        bytes[..length].to_vec()
    });
    assert_eq!(([0, 0], [b"one\n".to_vec(), b"two\n".to_vec()]), (lost, messages));
}

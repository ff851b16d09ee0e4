use super::*;
use std::sync::mpsc::{self, Receiver, Sender};

/// Long enough on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Longer than a test may take.
const LONG: Duration = Duration::from_secs(3600);

/// A standard error that tells of each write, and lets it pass when it may.
struct Gate {
    told: Sender<Vec<u8>>,
    may: Receiver<()>,
}

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.told.send(bytes.to_vec()).unwrap();
        let _ = self.may.recv();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The queue, what it wrote, and the permission to: once a message, and for ever when dropped.
fn gated(moment: Duration) -> (Arc<Queue>, Receiver<Vec<u8>>, Sender<()>) {
    let (told, writes) = mpsc::channel();
    let (allow, may) = mpsc::channel();
    let queue = Queue::start(Gate { told, may }, moment, |dropped, out| {
        out.extend_from_slice(format!("dropped {dropped}\n").as_bytes());
    })
    .unwrap();
    (queue, writes, allow)
}

fn next(writes: &Receiver<Vec<u8>>) -> String {
    String::from_utf8(writes.recv_timeout(PATIENCE).unwrap()).unwrap()
}

#[test]
fn lines_of_many_threads_are_whole_and_in_each_ones_order() {
    let (queue, writes, allow) = gated(Duration::from_millis(1));
    drop(allow);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let queue = &queue;
            scope.spawn(move || {
                for at in 0..2000 {
                    queue.push(format!("{thread} {at} end\n").as_bytes(), at % 97 == 0);
                }
            });
        }
    });
    queue.finish(PATIENCE);
    let text: String = writes
        .try_iter()
        .map(|piece| String::from_utf8(piece).unwrap())
        .collect();
    let mut next = [0; 8];
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [thread, at, "end"] = words[..] else {
            panic!("{line:?}")
        };
        let next = &mut next[thread.parse::<usize>().unwrap()];
        assert_eq!(at.parse(), Ok(*next), "{line}");
        *next += 1;
    }
    assert_eq!(next, [2000; 8]);
}

#[test]
fn a_writer_that_hangs_costs_bounded_memory_and_what_is_missing_is_counted_where_it_is_missing() {
    let (queue, writes, allow) = gated(LONG);
    queue.push(b"first\n", true);
    assert_eq!(next(&writes), "first\n");
    // It hangs now.
    let line = [b"x".repeat(1023), b"\n".to_vec()].concat();
    for _ in 0..5000 {
        queue.push(&line, false);
    }
    // Smaller than the room that is left, but others before it were dropped.
    queue.push(b"small\n", false);
    {
        let state = queue.lock();
        assert_eq!(state.lines.len(), BOUND);
        assert!(state.lines.capacity() <= 2 * BOUND);
    }
    allow.send(()).unwrap();
    let written = next(&writes);
    let kept = BOUND / line.len();
    assert_eq!(written.lines().count(), kept + 1);
    assert!(written.ends_with(&format!("x\ndropped {}\n", 5001 - kept)));
    queue.push(b"after\n", true);
    allow.send(()).unwrap();
    assert_eq!(next(&writes), "after\n");
    drop(allow);
    queue.finish(PATIENCE);
    assert!(queue.lock().lines.capacity() <= KEPT);
}

#[test]
fn a_writer_that_hangs_does_not_hold_up_the_end() {
    let (queue, writes, _allow) = gated(LONG);
    queue.push(b"line\n", true);
    next(&writes);
    let began = Instant::now();
    queue.finish(Duration::from_millis(20));
    assert!(began.elapsed() < PATIENCE);
}

#[test]
fn what_was_left_last_is_written_before_the_end() {
    for count in [0, 1, 1000] {
        let (queue, writes, allow) = gated(LONG);
        drop(allow);
        for _ in 0..count {
            queue.push(b"line\n", false);
        }
        queue.finish(PATIENCE);
        let lines: usize = writes
            .try_iter()
            .map(|piece| piece.iter().filter(|&&byte| byte == b'\n').count())
            .sum();
        assert_eq!(lines, count);
        // Whoever still runs then is not heard, and costs nothing.
        queue.push(b"late\n", true);
        assert!(queue.lock().lines.is_empty());
    }
}

#[track_caller]
fn comes_to_wait(queue: &Queue, what: &Waits) {
    let until = Instant::now() + PATIENCE;
    while queue.lock().waits != *what {
        assert!(Instant::now() < until);
        std::thread::yield_now();
    }
}

#[test]
fn lines_are_gathered_and_only_the_first_wakes() {
    let (queue, writes, allow) = gated(LONG);
    drop(allow);
    // With nothing to write it sleeps, for as long as there is nothing.
    comes_to_wait(&queue, &Waits::Anything);
    queue.push(b"1\n", false);
    comes_to_wait(&queue, &Waits::Much);
    queue.push(b"2\n", false);
    queue.push(b"3\n", false);
    assert!(queue.lock().waits == Waits::Much, "it was not woken");
    assert!(writes.try_recv().is_err());
    // A warning does not wait for more; nor do lines that wait with it.
    queue.push(b"4\n", true);
    assert_eq!(next(&writes), "1\n2\n3\n4\n");
    comes_to_wait(&queue, &Waits::Anything);
    queue.push(b"5\n", false);
    comes_to_wait(&queue, &Waits::Much);
    queue.push(&[b'x'; MUCH], false);
    assert_eq!(next(&writes).len(), 2 + MUCH);
    // Nor is the end waited for.
    comes_to_wait(&queue, &Waits::Anything);
    queue.push(b"6\n", false);
    comes_to_wait(&queue, &Waits::Much);
    queue.finish(PATIENCE);
    assert_eq!(next(&writes), "6\n");
}

#[test]
fn a_line_that_nothing_follows_is_written_a_moment_later() {
    let (queue, writes, allow) = gated(Duration::from_millis(1));
    drop(allow);
    for line in ["1\n", "2\n"] {
        queue.push(line.as_bytes(), false);
        assert_eq!(next(&writes), line);
    }
}

/// Takes three bytes at a time, every other time.
struct Moody {
    told: Sender<Vec<u8>>,
    well: bool,
}

impl Write for Moody {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.well = !self.well;
        if !self.well {
            return Err(ErrorKind::WouldBlock.into());
        }
        let count = bytes.len().min(3);
        self.told.send(bytes[..count].to_vec()).unwrap();
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_terminal_that_does_not_block_gets_whole_lines_too() {
    let (told, writes) = mpsc::channel();
    let queue = Queue::start(Moody { told, well: false }, LONG, |_, _| {}).unwrap();
    queue.push(b"a line in pieces\n", false);
    queue.finish(PATIENCE);
    let text: Vec<u8> = writes.try_iter().flatten().collect();
    assert_eq!(text, b"a line in pieces\n");
}

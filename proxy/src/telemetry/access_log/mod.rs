//! The access log: one line per request, written by a thread of its own.
//!
//! A worker formats lines into a buffer and hands the buffer over when it is large enough, or when [`WorkerLog::flush`]
//! is called (a worker's tick does, every [`FLUSH_INTERVAL`]). The queue to the writer is bounded: when the writer cannot
//! keep up, lines are dropped and counted, and no request waits.

mod line;
mod output;
mod time;

use std::{
    io, mem,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use wiremesh::{Reason, Status};

pub(crate) use self::time::rfc3339;
use self::{line::Formatter, output::Output};
use crate::config;

/// How often [`WorkerLog::flush`] is to be called.
pub const FLUSH_INTERVAL: Duration = Duration::from_millis(200);

/// A worker's buffer is handed over when it is at least this long.
const BUFFER: usize = 32 * 1024;

/// How many buffers wait for the writer at most.
const QUEUE: usize = 64;

/// What a line may tell of a request. An empty text means that there is none.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// When the request had been answered.
    pub time: SystemTime,
    /// The listener's name.
    pub listener: &'a str,
    /// The route's name.
    pub route: &'a str,
    /// The cluster's name.
    pub cluster: &'a str,
    /// The address of the endpoint that answered.
    pub endpoint: &'a str,
    /// The service asked for.
    pub service: &'a str,
    /// The method asked for.
    pub method: &'a str,
    /// The status of the answer.
    pub status: Status,
    /// Why the proxy itself answered, where it did.
    pub reason: Option<Reason>,
    /// From the request's last byte read to the reply's hand-over to the client.
    pub duration: Duration,
    /// The request's size on the wire.
    pub bytes_in: usize,
    /// The reply's size on the wire.
    pub bytes_out: usize,
    /// The id of the trace that the request belongs to.
    pub trace_id: &'a str,
    /// The client's address.
    pub client: &'a str,
}

/// An open access log. Clones are handles to the same one; the writer ends when the last handle is gone.
#[derive(Clone, Debug)]
pub struct AccessLog {
    shared: Arc<Shared>,
}

impl AccessLog {
    /// Opens the log and starts its writer. Dropped lines are added to `dropped`.
    pub fn open(config: &config::AccessLog, dropped: Arc<AtomicU64>) -> io::Result<Self> {
        let output = Output::open(&config.path)?;
        Self::start(Formatter::new(config.format, &config.fields), output, dropped)
    }

    /// A worker's end of the log.
    pub fn worker(&self) -> WorkerLog {
        let formatter = self.shared.formatter.clone();
        WorkerLog { shared: self.shared.clone(), formatter, buffer: Vec::new(), lines: 0 }
    }

    /// Opens the file anew, for a log rotation that has moved it. Nothing for stdout and stderr. Does not wait.
    pub fn reopen(&self) {
        self.shared.reopen.store(true, Relaxed);
        // If the queue is full the writer has work to do anyway, and sees the flag on its way.
        let _ = self.shared.queue.try_send(Message::Wake);
    }

    /// Waits until everything handed over before is written. Whether that came to pass within `timeout`.
    pub fn sync(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let (done, wait) = sync_channel(1);
        let mut message = Message::Sync(done);
        while let Err(TrySendError::Full(back)) = self.shared.queue.try_send(message) {
            if Instant::now() >= deadline {
                return false;
            }
            message = back;
            thread::sleep(Duration::from_millis(2));
        }
        wait.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_ok()
    }

    fn start(formatter: Formatter, output: Output, dropped: Arc<AtomicU64>) -> io::Result<Self> {
        let (queue, messages) = sync_channel(QUEUE);
        let reopen = Arc::<AtomicBool>::default();
        let writer = Writer { output, reopen: reopen.clone(), dropped: dropped.clone() };
        thread::Builder::new().name("access-log".into()).spawn(move || writer.run(&messages))?;
        Ok(Self { shared: Arc::new(Shared { queue, formatter, dropped, reopen }) })
    }
}

/// A worker's end of the access log.
#[derive(Debug)]
pub struct WorkerLog {
    shared: Arc<Shared>,
    formatter: Formatter,
    buffer: Vec<u8>,
    lines: u64,
}

impl WorkerLog {
    /// Adds a line.
    pub fn record(&mut self, record: &Record<'_>) {
        if self.buffer.capacity() == 0 {
            self.buffer.reserve(BUFFER + BUFFER / 4);
        }
        self.formatter.line(record, &mut self.buffer);
        self.lines += 1;
        if self.buffer.len() >= BUFFER {
            self.flush();
        }
    }

    /// Hands what has been recorded to the writer, or drops and counts it if the writer is behind.
    pub fn flush(&mut self) {
        if self.lines == 0 {
            return;
        }
        let lines = mem::take(&mut self.lines);
        let message = Message::Lines { text: mem::take(&mut self.buffer), lines };
        match self.shared.queue.try_send(message) {
            Ok(()) => {}
            Err(TrySendError::Full(message) | TrySendError::Disconnected(message)) => {
                self.shared.dropped.fetch_add(lines, Relaxed);
                if let Message::Lines { text, .. } = message {
                    self.buffer = text;
                    self.buffer.clear();
                }
            }
        }
    }
}

impl Drop for WorkerLog {
    fn drop(&mut self) {
        self.flush();
    }
}

#[derive(Debug)]
struct Shared {
    queue: SyncSender<Message>,
    formatter: Formatter,
    dropped: Arc<AtomicU64>,
    reopen: Arc<AtomicBool>,
}

#[derive(Debug)]
enum Message {
    Lines { text: Vec<u8>, lines: u64 },
    Sync(SyncSender<()>),
    Wake,
}

struct Writer {
    output: Output,
    reopen: Arc<AtomicBool>,
    dropped: Arc<AtomicU64>,
}

impl Writer {
    fn run(mut self, messages: &Receiver<Message>) {
        let mut failing = false;
        while let Ok(message) = messages.recv() {
            if self.reopen.swap(false, Relaxed)
                && let Err(error) = self.output.reopen()
            {
                tracing::warn!("access log {} could not be reopened: {error}", self.output);
            }
            match message {
                Message::Lines { text, lines } => match self.output.write(&text) {
                    Ok(()) => failing = false,
                    Err(error) => {
                        self.dropped.fetch_add(lines, Relaxed);
                        // Said once, not for every buffer of a full disk.
                        if !mem::replace(&mut failing, true) {
                            tracing::warn!("access log {}: {error}; lines are lost", self.output);
                        }
                    }
                },
                // The one who waits may have given up.
                Message::Sync(done) => drop(done.send(())),
                Message::Wake => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::mpsc};

    use super::*;
    use crate::config::{LogField, LogFormat, LogPath};

    const RECORD: Record<'static> = Record {
        time: SystemTime::UNIX_EPOCH,
        listener: "l",
        route: "r",
        cluster: "c",
        endpoint: "127.0.0.1:1",
        service: "s",
        method: "m",
        status: Status::Ok,
        reason: None,
        duration: Duration::from_micros(1),
        bytes_in: 1,
        bytes_out: 2,
        trace_id: "",
        client: "127.0.0.1:2",
    };

    const LONG: Duration = Duration::from_secs(10);

    /// Takes one write for every permit, and fails when nobody gives permits any more.
    struct Gate(Receiver<()>);

    impl io::Write for Gate {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            self.0.recv().map_err(io::Error::other)?;
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn config(path: LogPath) -> config::AccessLog {
        let fields = vec![LogField::Service, LogField::Method];
        config::AccessLog { path, format: LogFormat::Text, fields }
    }

    fn gated() -> (AccessLog, mpsc::Sender<()>, Arc<AtomicU64>) {
        let (permits, gate) = mpsc::channel();
        let dropped = Arc::<AtomicU64>::default();
        let formatter = Formatter::new(LogFormat::Text, &LogField::ALL);
        let log = AccessLog::start(formatter, Output::new(Box::new(Gate(gate))), dropped.clone());
        (log.unwrap(), permits, dropped)
    }

    #[test]
    fn lines_are_dropped_and_counted_while_the_writer_is_stuck() {
        let (log, permits, dropped) = gated();
        let mut worker = log.worker();
        let tries = 2 * QUEUE as u64;
        for _ in 0..tries {
            worker.record(&RECORD);
            worker.flush();
        }
        // The writer may have taken one out of the queue, no more.
        let lost = dropped.load(Relaxed);
        assert!([tries - QUEUE as u64, tries - QUEUE as u64 - 1].contains(&lost), "{lost} lost");
        assert!(!log.sync(Duration::from_millis(5)));

        (0..tries).for_each(|_| permits.send(()).unwrap());
        assert!(log.sync(LONG));
        worker.record(&RECORD);
        worker.flush();
        assert!(log.sync(LONG));
        assert_eq!(dropped.load(Relaxed), lost);
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted() {
        let (log, permits, dropped) = gated();
        drop(permits);
        let mut worker = log.worker();
        (0..3).for_each(|_| worker.record(&RECORD));
        drop(worker);
        assert!(log.sync(LONG));
        assert_eq!(dropped.load(Relaxed), 3);
    }

    #[test]
    fn a_full_buffer_is_handed_over_without_a_flush() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        let log = AccessLog::open(&config(LogPath::File(path.clone())), Arc::default()).unwrap();
        let mut worker = log.worker();
        let lines = BUFFER / "s m\n".len();
        (0..lines - 1).for_each(|_| worker.record(&RECORD));
        assert!(log.sync(LONG));
        assert_eq!(fs::read(&path).unwrap(), b"");
        worker.record(&RECORD);
        assert!(log.sync(LONG));
        assert_eq!(fs::read_to_string(&path).unwrap(), "s m\n".repeat(lines));
    }

    #[test]
    fn files_are_appended_to_and_reopened() {
        let dir = tempfile::tempdir().unwrap();
        let (path, moved) = (dir.path().join("access.log"), dir.path().join("access.log.1"));
        fs::write(&path, "before\n").unwrap();
        let log = AccessLog::open(&config(LogPath::File(path.clone())), Arc::default()).unwrap();
        let mut worker = log.worker();
        worker.record(&RECORD);
        worker.flush();
        assert!(log.sync(LONG));
        fs::rename(&path, &moved).unwrap();
        worker.record(&RECORD);
        worker.flush();
        assert!(log.sync(LONG));
        log.reopen();
        worker.record(&RECORD);
        worker.flush();
        assert!(log.sync(LONG));
        assert_eq!(fs::read_to_string(&moved).unwrap(), "before\ns m\ns m\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "s m\n");
    }

    #[test]
    fn a_path_that_cannot_be_opened_is_an_error_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = LogPath::File(dir.path().join("no/such/dir.log"));
        assert!(AccessLog::open(&config(path), Arc::default()).is_err());
    }
}

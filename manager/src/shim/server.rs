//! The shim's loop: output to the log and to clients, input from clients, processes that end. No
//! client can hold up the container: what it does not read in time is buffered up to a bound, and
//! beyond that it is told that it was dropped.

use std::collections::HashMap;
use std::io::{ErrorKind, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};

use nix::sys::signalfd::SignalFd;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use rustix::event::{PollFd, PollFlags, poll};

use super::client::Client;
use super::control::{ExecRequest, Frame};
use super::log::Stream;
use super::session::{Session, Stage, Starting};
use super::stdio::{self, Console, Ends};
use super::{exit, failure};
use crate::bundle;
use crate::container::record::Record;
use crate::container::store::{Container, write_atomically};
use crate::error::{Context, Error, Kind, Result};
use crate::runtime::Runtime;

/// The session of the container itself.
const MAIN: u32 = 0;

/// A wait status as code and signal.
type Ended = (i32, Option<i32>);

#[derive(Debug)]
pub(super) struct Server<'a> {
    container: &'a Container,
    runtime: &'a Runtime,
    listener: UnixListener,
    clients: Vec<Client>,
    sessions: HashMap<u32, Session>,
    next_session: u32,
    /// Processes reaped before we knew whose they were.
    unclaimed: HashMap<i32, Ended>,
    main_ended: Option<Ended>,
}

/// What a polled fd belongs to.
enum Source {
    Signals,
    Listener,
    Output(u32, Stream),
    Input(u32),
    Client(usize),
}

/// Tells the starting client that nothing came of it.
pub(super) fn refuse(mut client: UnixStream, error: &Error) -> Result<()> {
    client.write_all(&failure(error).encode()).context("answer the client")
}

impl<'a> Server<'a> {
    pub(super) fn new(
        container: &'a Container,
        runtime: &'a Runtime,
        listener: UnixListener,
        main: Session,
    ) -> Self {
        let sessions = HashMap::from([(MAIN, main)]);
        let (clients, unclaimed) = (Vec::new(), HashMap::new());
        Self { container, runtime, listener, clients, sessions, next_session: 1, unclaimed, main_ended: None }
    }

    /// Takes in the client that started us. In the foreground it follows the container from birth.
    pub(super) fn adopt(&mut self, stream: UnixStream, record: &Record) -> Result<()> {
        let mut client = Client::new(stream)?;
        if !record.detached {
            client.session = Some(MAIN);
            client.feeds = record.stdin;
            client.ends_input = record.stdin;
        }
        self.listener.set_nonblocking(true).context("make the socket non-blocking")?;
        self.clients.push(client);
        Ok(())
    }

    pub(super) fn announce_start(&mut self) {
        for client in &mut self.clients {
            client.send(&Frame::Started);
            client.closing = client.session.is_none();
        }
    }

    pub(super) fn fail(&mut self, error: &Error) {
        for client in &mut self.clients {
            client.send(&failure(error));
            client.closing = true;
        }
    }

    /// Tells all who are left, and lets go of them.
    pub(super) fn announce_exit(&mut self, code: i32) {
        // A connection that is waiting to be accepted asks for the same news.
        self.accept();
        for client in &mut self.clients {
            let code = if matches!(client.session, None | Some(MAIN)) { code } else { 137 };
            client.send(&Frame::Exited(code));
            client.closing = true;
        }
    }

    /// Writes out every backlog; a client may take its time, the container is over.
    pub(super) fn flush(&mut self) -> Result<()> {
        loop {
            self.clients.retain(|client| !client.gone && !client.backlog.is_empty());
            if self.clients.is_empty() {
                return Ok(());
            }
            let mut fds: Vec<_> =
                self.clients.iter().map(|client| PollFd::new(&client.stream, PollFlags::OUT)).collect();
            match poll(&mut fds, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).context("poll"),
            }
            self.clients.iter_mut().for_each(Client::write);
        }
    }

    /// Serves until the container's init is over and its last output is read.
    pub(super) fn serve(&mut self, signals: &SignalFd) -> Result<Ended> {
        // Init or an early end may have been reaped by nobody yet; look before the first wait.
        self.reap()?;
        while self.main_ended.is_none() {
            for (source, events) in self.wait(signals)? {
                self.act(source, events, signals)?;
            }
            self.clients.retain(|client| {
                let done = client.closing && client.backlog.is_empty();
                !client.gone && !done
            });
        }
        self.drain(MAIN);
        let rest: Vec<u32> = self.sessions.keys().copied().collect();
        rest.into_iter().filter(|session| *session != MAIN).for_each(|session| self.drain(session));
        self.main_ended.ok_or_else(|| Error::new(Kind::System, "the container's end was not seen"))
    }

    fn wait(&self, signals: &SignalFd) -> Result<Vec<(Source, PollFlags)>> {
        let mut polled: Vec<(Source, BorrowedFd, PollFlags)> = vec![
            (Source::Signals, signals.as_fd(), PollFlags::IN),
            (Source::Listener, self.listener.as_fd(), PollFlags::IN),
        ];
        for (id, session) in &self.sessions {
            let outputs = [(&session.ends.stdout, Stream::Stdout), (&session.ends.stderr, Stream::Stderr)];
            for (end, stream) in outputs {
                polled
                    .extend(end.as_ref().map(|fd| (Source::Output(*id, stream), fd.as_fd(), PollFlags::IN)));
            }
            polled.extend(session.ends.wants_write().map(|fd| (Source::Input(*id), fd, PollFlags::OUT)));
        }
        for (index, client) in self.clients.iter().enumerate() {
            let mut events = PollFlags::empty();
            events.set(PollFlags::IN, self.has_room_for(client));
            events.set(PollFlags::OUT, !client.backlog.is_empty());
            polled.push((Source::Client(index), client.stream.as_fd(), events));
        }
        let mut fds: Vec<PollFd> =
            polled.iter().map(|(_, fd, events)| PollFd::from_borrowed_fd(*fd, *events)).collect();
        match poll(&mut fds, None) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(Vec::new()),
            Err(error) => return Err(error).context("poll"),
        }
        let events: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
        Ok(polled
            .into_iter()
            .map(|(source, ..)| source)
            .zip(events)
            .filter(|(_, events)| !events.is_empty())
            .collect())
    }

    fn has_room_for(&self, client: &Client) -> bool {
        let fed = client.session.filter(|_| client.feeds).and_then(|session| self.sessions.get(&session));
        fed.is_none_or(|session| session.ends.has_room())
    }

    fn act(&mut self, source: Source, events: PollFlags, signals: &SignalFd) -> Result<()> {
        match source {
            Source::Signals => {
                while signals.read_signal().context("read signalfd")?.is_some() {}
                self.reap()?;
            }
            Source::Listener => self.accept(),
            Source::Output(session, stream) => self.pump(session, stream),
            Source::Input(session) => {
                if let Some(session) = self.sessions.get_mut(&session) {
                    session.ends.write();
                }
            }
            Source::Client(index) => {
                if events.contains(PollFlags::OUT)
                    && let Some(client) = self.clients.get_mut(index)
                {
                    client.write();
                }
                if events.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                    self.listen_to(index);
                }
            }
        }
        Ok(())
    }

    fn accept(&mut self) {
        loop {
            match self.listener.accept().map(|(stream, _)| Client::new(stream)) {
                Ok(Ok(client)) => self.clients.push(client),
                Ok(Err(error)) => log::warn!("accept: {error}"),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    /// One read of a stream, to the log and to all who follow. False if there was nothing.
    fn pump_once(&mut self, session: u32, stream: Stream) -> bool {
        let mut buffer = [0; 32 * 1024];
        let Some(from) = self.sessions.get_mut(&session) else { return false };
        let Some(bytes) = from.pump(stream, &mut buffer) else { return false };
        let frame = if stream == Stream::Stdout {
            Frame::Stdout(bytes.to_vec())
        } else {
            Frame::Stderr(bytes.to_vec())
        };
        for client in self.clients.iter_mut().filter(|client| client.session == Some(session)) {
            client.send(&frame);
        }
        true
    }

    fn pump(&mut self, session: u32, stream: Stream) {
        self.pump_once(session, stream);
    }

    /// Reads what an ended process has left in its streams.
    fn drain(&mut self, session: u32) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            while self.pump_once(session, stream) {}
        }
        if let Some(session) = self.sessions.get_mut(&session) {
            session.finish();
        }
    }

    /// Collects every child that is over.
    fn reap(&mut self) -> Result<()> {
        loop {
            let status = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) | Err(nix::Error::ECHILD) => return Ok(()),
                Err(nix::Error::EINTR) => continue,
                status => status.context("wait for children")?,
            };
            if let (Some(pid), Some(ended)) = (status.pid(), exit::code(status)) {
                self.ended(pid.as_raw(), ended);
            }
        }
    }

    fn ended(&mut self, pid: i32, ended: Ended) {
        let owner = self.sessions.iter().find_map(|(id, session)| match &session.stage {
            Stage::Running(running) if *running == pid => Some((*id, false)),
            Stage::Starting(starting) if starting.runtime == pid => Some((*id, true)),
            _ => None,
        });
        match owner {
            Some((MAIN, _)) => self.main_ended = Some(ended),
            Some((session, true)) => self.exec_started(session, ended),
            Some((session, false)) => self.exec_ended(session, ended.0),
            // Perhaps an exec's process, whose runtime is still to be reaped.
            None if self.sessions.values().any(|session| matches!(session.stage, Stage::Starting(_))) => {
                self.unclaimed.insert(pid, ended);
            }
            None => self.unclaimed.clear(),
        }
    }

    fn listen_to(&mut self, index: usize) {
        let Some(client) = self.clients.get_mut(index) else { return };
        client.read();
        loop {
            let Some(client) = self.clients.get_mut(index) else { return };
            match client.decoder.take_frame() {
                Ok(Some(frame)) => self.obey(index, frame),
                Ok(None) => break,
                Err(error) => {
                    log::warn!("{error}");
                    client.gone = true;
                    break;
                }
            }
        }
        let Some(client) = self.clients.get(index) else { return };
        if client.gone
            && client.ends_input
            && let Some(session) = client.session.and_then(|session| self.sessions.get_mut(&session))
        {
            session.ends.end_input();
        }
    }

    fn obey(&mut self, index: usize, frame: Frame) {
        if let Frame::Exec(json) = &frame {
            if let Err(error) = self.exec(index, json)
                && let Some(client) = self.clients.get_mut(index)
            {
                client.send(&failure(&error));
                client.closing = true;
            }
            return;
        }
        let Some(client) = self.clients.get_mut(index) else { return };
        if let Frame::Attach(stdin) = frame {
            (client.session, client.feeds) = (Some(MAIN), stdin);
        }
        let session = client.session.and_then(|session| self.sessions.get_mut(&session));
        match (frame, session) {
            (Frame::Input(bytes), Some(session)) if client.feeds => session.ends.feed(&bytes),
            (Frame::InputEnd, Some(session)) if client.feeds => session.ends.end_input(),
            (Frame::Resize(rows, columns), Some(session)) => session.ends.resize(rows, columns),
            // Wait needs nothing done, and the rest is not for us.
            _ => {}
        }
    }

    /// Starts `runtime exec`; the rest follows when it is done.
    fn exec(&mut self, index: usize, json: &[u8]) -> Result<()> {
        let request: ExecRequest = serde_json::from_slice(json).context("parse the exec request")?;
        let id = self.next_session;
        self.next_session += 1;
        let file = |what: &str| self.container.run_dir.join(format!("exec-{id}.{what}"));
        let process = bundle::exec_process(self.container, &request)?;
        let process_file = file("process");
        write_atomically(&process_file, &serde_json::to_vec(&process).context("encode the process")?)?;
        let console = if request.tty {
            Some(Console::bind(&self.container.run_dir, &format!("exec-{id}.sock"))?)
        } else {
            None
        };
        let (far, ends) = match &console {
            Some(console) => (console.stdio(), Ends::default()),
            None => stdio::pipes(request.stdin)?,
        };
        let (pid_file, log) = (file("pid"), file("log"));
        let child = self.runtime.with_log(log.clone()).spawn_exec(&process_file, &pid_file, far)?;
        let runtime = child.id().cast_signed();
        let starting = Starting { runtime, pid_file, process_file, log, console, size: request.console_size };
        self.sessions.insert(id, Session::starting(starting, ends));
        if let Some(client) = self.clients.get_mut(index) {
            client.session = Some(id);
            client.feeds = request.stdin;
            client.ends_input = request.stdin;
        }
        Ok(())
    }

    /// `runtime exec` is done: the process runs, or there is none.
    fn exec_started(&mut self, id: u32, ended: Ended) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let Stage::Starting(starting) = std::mem::replace(&mut session.stage, Stage::Exited) else { return };
        let files = [starting.pid_file.clone(), starting.process_file.clone(), starting.log.clone()];
        let result = claim(starting, ended, self.runtime, &mut session.ends);
        for file in files {
            if let Err(error) = std::fs::remove_file(&file) {
                log::debug!("remove {}: {error}", file.display());
            }
        }
        let followers = self.clients.iter_mut().filter(|client| client.session == Some(id));
        match result {
            Ok(pid) => {
                session.stage = Stage::Running(pid);
                followers.for_each(|client| client.send(&Frame::Started));
                if let Some((code, _)) = self.unclaimed.remove(&pid) {
                    self.exec_ended(id, code);
                }
            }
            Err(error) => {
                for client in followers {
                    client.send(&failure(&error));
                    client.closing = true;
                }
                self.sessions.remove(&id);
            }
        }
    }

    fn exec_ended(&mut self, id: u32, code: i32) {
        self.drain(id);
        for client in self.clients.iter_mut().filter(|client| client.session == Some(id)) {
            client.send(&Frame::Exited(code));
            client.closing = true;
        }
        self.sessions.remove(&id);
    }
}

/// The pid and the terminal that a finished `runtime exec` has left.
fn claim(starting: Starting, ended: Ended, runtime: &Runtime, ends: &mut Ends) -> Result<i32> {
    use std::os::unix::process::ExitStatusExt;
    let raw = if ended.1.is_some() { ended.0 - 128 } else { ended.0 << 8 };
    runtime.with_log(starting.log).check(std::process::ExitStatus::from_raw(raw), "exec")?;
    let pid = super::read_pid(&starting.pid_file)?;
    if let Some(console) = starting.console {
        *ends = console.receive()?;
        if let Some((rows, columns)) = starting.size {
            ends.resize(rows, columns);
        }
    }
    Ok(pid)
}

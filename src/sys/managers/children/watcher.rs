//! The thread that sees how children end, hears what they say, and looks after their files and memory.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};

use super::cgroup::Cgroup;
use super::logs::Logs;
use super::marks;
use super::notify::NotifySocket;
use crate::domain::id::ServiceName;
use crate::domain::service::{End, EndCause, Observation, Process, Run};
use crate::ports::Clock as _;
use crate::ports::manager::{Teller, Told, Word};
use crate::sys::clock::SystemClock;
use crate::sys::managers::process;

/// Between two looks at the size of log files, where they hardly grow.
const LOGS_MOST: Duration = Duration::from_secs(60);
/// And where they grow fast.
const LOGS_LEAST: Duration = Duration::from_secs(1);
/// Of all logs that are to be looked at within this time, one look is made.
const LOGS_TOGETHER: Duration = Duration::from_secs(10);
/// Between two looks at memory that is far from its limit.
const MEMORY_FAR: Duration = Duration::from_secs(1);
/// And of memory that is near it.
const MEMORY_NEAR: Duration = Duration::from_millis(50);
/// And of memory that will pass it soon, the way it grows.
const MEMORY_LEAST: Duration = Duration::from_millis(10);
/// Messages taken at once, so that one that shouts keeps nobody waiting.
const WORDS: usize = 64;

const WAKE: u64 = 0;
const NOTIFY: u64 = 1;
const FIRST: u64 = 2;

/// One child to look after.
pub(super) struct Watched {
    pub service: ServiceName,
    pub process: Process,
    pub pidfd: OwnedFd,
    /// Whether it is a child of this very process, so that its exit code can be had.
    pub own: bool,
    pub cgroup: Option<Cgroup>,
    /// Whether it may speak.
    pub notify: bool,
    /// Its limit, where the kernel does not keep it.
    pub memory: Option<u64>,
    pub logs: Logs,
    pub log_bytes: u64,
    pub log_files: u32,
}

/// What the watcher is told.
pub(super) enum Order {
    Watch(Watched),
    /// Leave this child alone from now on.
    Forget(ServiceName),
    Stop,
}

/// The way to the thread.
pub(super) struct Watcher {
    orders: Sender<Order>,
    wake: OwnedFd,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system refused.
    pub(super) fn start(teller: Teller, home: String, socket: Option<NotifySocket>) -> io::Result<Self> {
        let (orders, received) = channel();
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &wake, EventData::new_u64(WAKE), EventFlags::IN)?;
        if let Some(socket) = &socket {
            epoll::add(&epoll, socket.fd(), EventData::new_u64(NOTIFY), EventFlags::IN)?;
        }
        let woken = wake.try_clone()?;
        let mut watching = Watching {
            teller,
            home,
            socket,
            epoll,
            woken,
            orders: received,
            children: BTreeMap::new(),
            next: FIRST,
            rotating: None,
        };
        let thread = thread::Builder::new().name("children".to_owned()).stack_size(256 * 1024);
        let thread = thread.spawn(move || watching.run())?;
        Ok(Self { orders, wake, thread: Some(thread) })
    }

    /// Tells it something.
    pub(super) fn order(&self, order: Order) {
        // A watcher that has ended was told to.
        drop(self.orders.send(order));
        let _full_is_woken_too = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.order(Order::Stop);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

struct Kept {
    watched: Watched,
    oom_kills: u64,
    over: bool,
    log_due: Instant,
    log_size: u64,
    memory_due: Option<Instant>,
    /// What it had when it was looked at last.
    weighed: Option<(u64, Instant)>,
}

struct Watching {
    teller: Teller,
    home: String,
    socket: Option<NotifySocket>,
    epoll: OwnedFd,
    woken: OwnedFd,
    orders: Receiver<Order>,
    children: BTreeMap<u64, Kept>,
    next: u64,
    rotating: Option<JoinHandle<()>>,
}

impl Watching {
    fn run(&mut self) {
        let mut events = Vec::with_capacity(64);
        loop {
            let wait = self.children.values().flat_map(|kept| kept.memory_due.into_iter().chain([kept.log_due])).min();
            let wait = wait.map(|due| timespec(due.saturating_duration_since(Instant::now())));
            events.clear();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), wait.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => {
                    self.teller.tell(Told::Trouble(format!("children are not watched any more: {error}")));
                    return;
                }
            }
            // Ends first: what follows from them is what is waited for.
            for event in &events {
                let token = event.data.u64();
                if token >= FIRST {
                    self.ended(token);
                }
            }
            let came = |token| events.iter().any(|event| event.data.u64() == token);
            let (woken, spoken) = (came(WAKE), came(NOTIFY));
            if woken && self.take_orders() {
                return;
            }
            if spoken {
                self.hear();
            }
            self.look_after();
        }
    }

    /// Takes what was ordered; true when it was to stop.
    fn take_orders(&mut self) -> bool {
        let mut count = [0_u8; 8];
        let _empty_is_no_matter = rustix::io::read(&self.woken, &mut count);
        while let Ok(order) = self.orders.try_recv() {
            match order {
                Order::Watch(watched) => self.watch(watched),
                Order::Forget(service) => {
                    let gone = self.children.extract_if(.., |_, kept| kept.watched.service == service);
                    for (_, kept) in gone.collect::<Vec<_>>() {
                        self.leave(&kept.watched);
                    }
                }
                Order::Stop => return true,
            }
        }
        false
    }

    fn watch(&mut self, watched: Watched) {
        let token = self.next;
        self.next += 1;
        let now = Instant::now();
        let added = epoll::add(&self.epoll, &watched.pidfd, EventData::new_u64(token), EventFlags::IN);
        if let Err(error) = added {
            let what = format!("the end of service {} would not be seen: {error}", watched.service);
            self.teller.tell(Told::Trouble(what));
        }
        let kept = Kept {
            oom_kills: watched.cgroup.as_ref().map_or(0, Cgroup::oom_kills),
            over: false,
            log_due: now + LOGS_LEAST,
            log_size: 0,
            memory_due: watched.memory.map(|_| now),
            weighed: None,
            watched,
        };
        self.children.insert(token, kept);
    }

    /// Is no longer woken by this process. Its end stays to be seen for as long as anybody else has a handle of it, and
    /// closing ours would not end that.
    fn leave(&self, watched: &Watched) {
        let _was_never_added = epoll::delete(&self.epoll, &watched.pidfd);
    }

    fn ended(&mut self, token: u64) {
        let Some(kept) = self.children.remove(&token) else { return };
        self.leave(&kept.watched);
        let Watched { service, process, pidfd, own, cgroup, .. } = &kept.watched;
        // Whoever it leaves behind goes with it, while its pid still is its own.
        match cgroup {
            Some(cgroup) => drop(cgroup.kill()),
            None if *own => kill_group(process.pid),
            None => {
                let left = marks::left_of(&self.home, service, process.pid);
                left.into_iter().for_each(process::kill_exactly);
            }
        }
        let oom = cgroup.as_ref().is_some_and(|cgroup| cgroup.oom_kills() > kept.oom_kills);
        let mut cause = if *own { process::how(pidfd) } else { EndCause::Unseen };
        if (oom || kept.over) && !matches!(cause, EndCause::Exit(_)) {
            cause = EndCause::OutOfMemory;
        }
        let end = End { process: Some(*process), cause, at: Some(SystemClock.now()) };
        let seen = Observation { end: Some(end), ..Observation::of(service.clone(), Run::Down) };
        self.teller.tell(Told::Seen(seen));
    }

    fn hear(&mut self) {
        for _ in 0..WORDS {
            let Some(said) = self.socket.as_ref().and_then(NotifySocket::next) else { return };
            let Some(service) = self.speaker(said.pid) else { continue };
            for word in said.words {
                self.teller.tell(Told::Heard { service: service.clone(), word });
            }
        }
    }

    /// The service that a process belongs to: one of its session, or of its cgroup.
    fn speaker(&self, pid: u32) -> Option<ServiceName> {
        let session = process::session(pid);
        let mut speaking = self.children.values().map(|kept| &kept.watched).filter(|watched| watched.notify);
        let known = speaking.clone().find(|watched| watched.process.pid == pid || session == Some(watched.process.pid));
        let known = known.or_else(|| {
            speaking.find(|watched| watched.cgroup.as_ref().is_some_and(|cgroup| cgroup.pids().contains(&pid)))
        });
        known.map(|watched| watched.service.clone())
    }

    fn look_after(&mut self) {
        let now = Instant::now();
        for kept in self.children.values_mut() {
            if kept.memory_due.is_some_and(|due| due <= now) {
                kept.weigh(now, &self.teller);
            }
        }
        if self.children.values().all(|kept| kept.log_due > now) {
            return;
        }
        // One look for all that are due soon: then they are due together the next time too.
        let soon = now + LOGS_TOGETHER;
        let busy = self.rotating.as_ref().is_some_and(|thread| !thread.is_finished());
        let mut full = Vec::new();
        for kept in self.children.values_mut().filter(|kept| kept.log_due <= soon) {
            let size = kept.watched.logs.size();
            if size >= kept.watched.log_bytes {
                full.push((kept.watched.logs.clone(), kept.watched.log_bytes, kept.watched.log_files));
            }
            // Fast growth is looked at again before it can fill much more than it may.
            let grown = size.saturating_sub(kept.log_size) > kept.watched.log_bytes / 8 || busy;
            kept.log_size = size;
            kept.log_due = now + if grown { LOGS_LEAST } else { LOGS_MOST };
        }
        if busy || full.is_empty() {
            return;
        }
        // A copy takes its time: no end of a child waits for it.
        let teller = self.teller.clone();
        let rotate = move || {
            for (logs, most, keep) in full {
                if let Err(error) = logs.rotate(most, keep) {
                    teller.tell(Told::Trouble(format!("{} is not rotated: {error}", logs.out.display())));
                }
            }
        };
        self.rotating = thread::Builder::new().name("logs".to_owned()).stack_size(256 * 1024).spawn(rotate).ok();
    }
}

impl Kept {
    fn weigh(&mut self, now: Instant, teller: &Teller) {
        let Some(limit) = self.watched.memory else { return };
        let used = memory(&members(&self.watched));
        let grown = self.weighed.map(|(before, at)| (used.saturating_sub(before), now.saturating_duration_since(at)));
        self.weighed = Some((used, now));
        self.memory_due = Some(now + next_look(limit, used, grown));
        if used > limit {
            self.over = true;
            // It may be told again while it is being killed; once is enough for that.
            self.memory_due = Some(now + MEMORY_FAR);
            teller.tell(Told::Heard { service: self.watched.service.clone(), word: Word::OverMemory });
        }
    }
}

/// When memory is to be looked at again: before it can be beyond its limit, going by how much it has grown in what time.
fn next_look(limit: u64, used: u64, grown: Option<(u64, Duration)>) -> Duration {
    let usual = if used >= limit / 2 { MEMORY_NEAR } else { MEMORY_FAR };
    let Some((more, took)) = grown.filter(|(more, _)| *more > 0) else { return usual };
    // Half the time that is left at this pace, since the pace may rise.
    let left = took.as_secs_f64() * limit.saturating_sub(used) as f64 / more as f64 / 2.0;
    Duration::try_from_secs_f64(left).unwrap_or(usual).clamp(MEMORY_LEAST, usual)
}

/// Memory of these processes together, in bytes: what each has for itself, and what they share once, taken to be what the
/// one that shares most has in common with others. So it is what people see of a single process.
fn memory(pids: &[u32]) -> u64 {
    let page = u64::try_from(rustix::param::page_size()).unwrap_or(4_096);
    let (mut own, mut common) = (0_u64, 0);
    for (resident, shared) in pids.iter().filter_map(|pid| process::pages(*pid)) {
        own = own.saturating_add(resident.saturating_sub(shared));
        common = common.max(shared);
    }
    own.saturating_add(common).saturating_mul(page)
}

/// The processes of a child: those of its cgroup, else those below it, else, where the kernel does not say who that
/// is, those of its session.
fn members(watched: &Watched) -> Vec<u32> {
    if let Some(cgroup) = &watched.cgroup {
        return cgroup.pids();
    }
    let leader = watched.process.pid;
    if process::tells_below() { process::tree(leader) } else { marks::session_of(leader) }
}

fn timespec(wait: Duration) -> Timespec {
    // Rounded up: to wake before the time is to wake twice.
    let wait = wait + Duration::from_millis(1);
    Timespec { tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX), tv_nsec: i64::from(wait.subsec_nanos()) }
}

pub(super) fn kill_group(pid: u32) {
    if let Some(group) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _nobody_left_is_what_was_wanted = kill_process_group(group, Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_looked_at_before_it_can_be_beyond_its_limit() {
        let (limit, second) = (50 << 20, Duration::from_secs(1));
        assert_eq!(next_look(limit, 1 << 20, None), MEMORY_FAR);
        assert_eq!(next_look(limit, 30 << 20, None), MEMORY_NEAR);
        assert_eq!(next_look(limit, 10 << 20, Some((0, second))), MEMORY_FAR, "it does not grow");
        // 20 MiB a second from 10 MiB on: 2 s are left, and 1 s is waited. From far below, what grows fast is near.
        assert_eq!(next_look(limit, 10 << 20, Some((20 << 20, second))), MEMORY_FAR);
        assert_eq!(next_look(limit, 10 << 20, Some((200 << 20, second))), Duration::from_millis(100));
        assert_eq!(next_look(limit, 49 << 20, Some((20 << 20, second))), Duration::from_millis(25));
        assert_eq!(next_look(limit, 60 << 20, Some((20 << 20, second))), MEMORY_LEAST);
    }

    #[test]
    fn what_processes_share_is_counted_once() {
        let own = std::process::id();
        let one = memory(&[own]);
        assert!(one > 0);
        let (two, gone) = (memory(&[own, own]), memory(&[own, u32::MAX]));
        assert!(two < 2 * one && two >= one && gone < 2 * one, "{one} {two} {gone}");
    }
}

//! Follows units over one connection after the other, and does what is asked meanwhile.

use std::collections::{BTreeMap, HashMap, VecDeque};

use tokio::sync::mpsc::UnboundedReceiver;
use zbus::{Message, OwnedObjectPath, OwnedVariant};

use super::bus::{Bus, BusError, PROPERTIES_CHANGED, UNIT_WORDS};
use super::own_stops::OwnStops;
use super::unit::{Facts, Unit};
use crate::domain::foreign_text::display_line;
use crate::domain::id::ServiceName;
use crate::domain::service::{Observation, Verb};
use crate::ports::manager::{Target, Teller};
use crate::sys::managers::thread::{self, Order, Voice};
use crate::sys::managers::{kernel_log, retry};

/// Serves until nobody can give orders any more.
pub(super) async fn serve(address: String, own: OwnStops, mut orders: UnboundedReceiver<Order>, teller: Teller) {
    let mut watch = Watch { units: BTreeMap::new(), voice: Voice::new(teller), own };
    let mut pause = retry::Pause::default();
    loop {
        let why = match Session::open(&address, &mut watch).await {
            Ok(mut session) => {
                pause = retry::Pause::default();
                match session.run(&mut watch, &mut orders).await {
                    Ok(()) => return,
                    Err(error) => error.to_string(),
                }
            }
            Err(error) => error.to_string(),
        };
        watch.voice.unknown(watch.units.keys(), &why);
        if thread::wait_out(pause.next(), &mut orders, |order| watch.put_off(order, &why)).await.is_break() {
            return;
        }
    }
}

/// What is followed, whether there is a connection or not.
struct Watch {
    units: BTreeMap<ServiceName, Unit>,
    voice: Voice,
    own: OwnStops,
}

impl Watch {
    fn follow(&mut self, targets: Vec<Target>) {
        let mut before = std::mem::take(&mut self.units);
        for target in targets {
            let kept = before.remove(&target.service).filter(|unit| unit.target == target);
            let unit = kept.unwrap_or_else(|| Unit::new(target.clone(), Facts::default(), self.own.of(&target)));
            self.units.insert(target.service, unit);
        }
        before.keys().for_each(|service| self.voice.forget(service));
    }

    /// Takes an order that cannot be followed now.
    fn put_off(&mut self, order: Order, why: &str) {
        match order {
            Order::Watch(targets) => {
                self.follow(targets);
                self.voice.unknown(self.units.keys(), why);
            }
            Order::Look(service) => {
                if self.units.contains_key(&service) {
                    self.voice.forget(&service);
                    self.voice.unknown([&service], why);
                }
            }
            Order::Act(service, verb) => self.voice.refuse(service, verb, why.to_owned()),
        }
    }
}

/// One connection's time.
struct Session {
    bus: Bus,
    /// Messages that came before an answer that was awaited, and were not looked at yet.
    early: VecDeque<Message>,
    /// Which service each followed object is.
    paths: HashMap<OwnedObjectPath, ServiceName>,
    /// The jobs that were asked for here and are not done.
    jobs: HashMap<OwnedObjectPath, (ServiceName, Verb)>,
}

impl Session {
    async fn open(address: &str, watch: &mut Watch) -> Result<Self, BusError> {
        let bus = Bus::open(address).await?;
        let mut session = Self { bus, early: VecDeque::new(), paths: HashMap::new(), jobs: HashMap::new() };
        session.look_at_all(watch).await?;
        Ok(session)
    }

    async fn run(&mut self, watch: &mut Watch, orders: &mut UnboundedReceiver<Order>) -> Result<(), BusError> {
        loop {
            while let Some(message) = self.early.pop_front() {
                self.hear(watch, &message).await?;
            }
            tokio::select! {
                message = self.bus.next() => self.hear(watch, &message?).await?,
                order = orders.recv() => match order {
                    None => return Ok(()),
                    Some(Order::Watch(targets)) => {
                        watch.follow(targets);
                        self.look_at_all(watch).await?;
                    }
                    Some(Order::Look(service)) => self.look_again(watch, &service).await?,
                    Some(Order::Act(service, verb)) => self.act(watch, service, verb).await?,
                }
            }
        }
    }

    async fn look_at_all(&mut self, watch: &mut Watch) -> Result<(), BusError> {
        let gone: Vec<_> = self.paths.iter().filter(|(_, service)| !watch.units.contains_key(*service)).collect();
        let gone: Vec<_> = gone.into_iter().map(|(path, _)| path.clone()).collect();
        for path in gone {
            self.paths.remove(&path);
            self.bus.ignore(path.as_str()).await?;
        }
        for service in watch.units.keys().cloned().collect::<Vec<_>>() {
            self.look(watch, &service).await?;
        }
        Ok(())
    }

    /// A fresh look that is told of also when it shows nothing new.
    async fn look_again(&mut self, watch: &mut Watch, service: &ServiceName) -> Result<(), BusError> {
        watch.voice.forget(service);
        self.look(watch, service).await
    }

    /// A fresh look at one unit.
    async fn look(&mut self, watch: &mut Watch, service: &ServiceName) -> Result<(), BusError> {
        let Some(unit) = watch.units.get(service) else { return Ok(()) };
        let name = unit.target.unit.clone();
        let path = match self.bus.load(&name).await {
            Ok(path) => path,
            Err(BusError::Said { text, .. }) => {
                watch.voice.tell(Observation::unknown(service.clone(), format!("systemd cannot load {name}: {text}")));
                return Ok(());
            }
            Err(lost) => return Err(lost),
        };
        if self.paths.insert(path.clone(), service.clone()).is_none() {
            self.bus.listen_to(path.as_str()).await?;
            // Held in memory by systemd even when it has ended, so that it keeps what it knows of the end. Who may not
            // ask for that sees ends only while it looks.
            match self.bus.manager("RefUnit", &name.as_str()).await {
                Ok(_) | Err(BusError::Said { .. }) => {}
                Err(lost) => return Err(lost),
            }
        }
        let (facts, answer) = self.bus.properties(path.as_str()).await?;
        // What came before the answer is older than it, and may be the only trace of an end that is over by now.
        while let Some(message) = self.bus.waiting() {
            self.early.push_back(message);
        }
        // Every other message keeps its turn: the end of a job is told once.
        let until = answer.recv_position();
        let (older, later): (VecDeque<Message>, VecDeque<Message>) = std::mem::take(&mut self.early)
            .into_iter()
            .partition(|message| message.recv_position() < until && is_change(message));
        self.early = later;
        for message in older {
            self.take_in(watch, &message);
        }
        let Some(unit) = watch.units.get_mut(service) else { return Ok(()) };
        for (name, value) in &facts {
            unit.facts.set(name, value);
        }
        tell(watch, service);
        Ok(())
    }

    /// Hears one message and does what it calls for.
    async fn hear(&mut self, watch: &mut Watch, message: &Message) -> Result<(), BusError> {
        let header = message.header();
        match header.member().map(|member| member.as_str()) {
            Some(PROPERTIES_CHANGED) => {
                if let Some(service) = self.take_in(watch, message) {
                    self.look(watch, &service).await?;
                }
            }
            // It says `true` before and `false` after. Files that came, went or changed are known after.
            Some("Reloading") if message.body().deserialize::<bool>().is_ok_and(|begins| !begins) => {
                self.look_at_all(watch).await?;
            }
            Some("JobRemoved") => {
                if let Ok((_, job, _, result)) = message.body().deserialize::<(u32, OwnedObjectPath, String, String)>()
                    && let Some((service, verb)) = self.jobs.remove(&job)
                {
                    if let Some(why) = job_failed(&result) {
                        watch.voice.refuse(service.clone(), verb, why);
                    } else if verb == Verb::Reload && result == "done" {
                        watch.voice.reloaded(service.clone());
                    } else if verb == Verb::Reload {
                        // The unit goes on as it was, and shows nothing of it.
                        let why =
                            format!("its reload ended as `{}`: `systemctl status` says more", display_line(&result));
                        watch.voice.refuse(service.clone(), verb, why);
                    }
                    self.look_again(watch, &service).await?;
                }
            }
            Some("NameOwnerChanged") => {
                if let Ok((_, _, owner)) = message.body().deserialize::<(String, String, String)>() {
                    let what = if owner.is_empty() { "systemd left the bus" } else { "systemd began anew on the bus" };
                    return Err(BusError::Lost(what.to_owned()));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Takes in a change of a unit and tells of it. Returns the service when a fresh look is due.
    fn take_in(&mut self, watch: &mut Watch, message: &Message) -> Option<ServiceName> {
        let header = message.header();
        let service = self.paths.get(header.path()?)?.clone();
        let body = message.body();
        let (words, changed, gone) = body.deserialize::<(String, HashMap<String, OwnedVariant>, Vec<String>)>().ok()?;
        let unit = watch.units.get_mut(&service)?;
        for (name, value) in &changed {
            unit.facts.set(name, value);
        }
        // systemd says what is special to services first and what holds for every unit last: then it is whole.
        if words == UNIT_WORDS {
            tell(watch, &service);
        }
        gone.iter().any(|name| Facts::knows(name)).then_some(service)
    }

    async fn act(&mut self, watch: &mut Watch, service: ServiceName, verb: Verb) -> Result<(), BusError> {
        let Some(unit) = watch.units.get_mut(&service) else {
            watch.voice.refuse(service, verb, "it is not among the services that are watched".to_owned());
            return Ok(());
        };
        let name = unit.target.unit.clone();
        let asked = match verb {
            Verb::Start => {
                // What systemd counts against a unit that failed often would have it refuse.
                if unit.facts.has_failed() {
                    match self.bus.manager("ResetFailedUnit", &name.as_str()).await {
                        Ok(_) | Err(BusError::Said { .. }) => {}
                        Err(lost) => return self.not_done(watch, service, verb, lost),
                    }
                }
                // Where somebody has just asked for the opposite, that stands.
                self.bus.manager("StartUnit", &(name.as_str(), "fail")).await
            }
            Verb::Stop => {
                // One that is down was stopped by whoever stopped it before.
                if !unit.facts.is_inactive() {
                    unit.stopped_by_us = true;
                    // A disk that takes nothing keeps no service hanging.
                    if let Err(error) = watch.own.note(&unit.target, unit.facts.run_began()) {
                        watch.voice.trouble(format!(
                            "that mesh stops {name} cannot be written down ({error}): should the agent be restarted \
                             before it starts it again, see that {service} runs"
                        ));
                    }
                }
                self.bus.manager("StopUnit", &(name.as_str(), "replace")).await
            }
            Verb::Kill => self.bus.manager("KillUnit", &(name.as_str(), "all", KILL)).await,
            Verb::Reload => self.bus.manager("ReloadUnit", &(name.as_str(), "replace")).await,
        };
        match asked {
            Ok(answer) => {
                let Ok(job) = answer.body().deserialize::<OwnedObjectPath>() else {
                    return self.look_again(watch, &service).await;
                };
                self.jobs.insert(job, (service, verb));
                Ok(())
            }
            Err(BusError::Said { name, .. }) if matches!(verb, Verb::Stop | Verb::Kill) && is_down_already(&name) => {
                self.look_again(watch, &service).await
            }
            Err(error) => self.not_done(watch, service, verb, error),
        }
    }

    fn not_done(
        &mut self,
        watch: &mut Watch,
        service: ServiceName,
        verb: Verb,
        error: BusError,
    ) -> Result<(), BusError> {
        if let Some(unit) = watch.units.get_mut(&service) {
            unit.stopped_by_us = false;
            if verb == Verb::Stop {
                watch.own.forget(&unit.target);
            }
        }
        watch.voice.refuse(service.clone(), verb, words(&error, verb, &service));
        match error {
            BusError::Said { .. } => Ok(()),
            lost @ BusError::Lost(_) => Err(lost),
        }
    }
}

/// The signal of [`Verb::Kill`].
const KILL: i32 = 9;

fn tell(watch: &mut Watch, service: &ServiceName) {
    if let Some(unit) = watch.units.get_mut(service).filter(|unit| unit.facts.is_whole()) {
        let seen = unit.observe(kernel_log::killed_for_memory);
        watch.voice.tell(seen);
    }
}

/// Whether it says that properties of something changed.
fn is_change(message: &Message) -> bool {
    message.header().member().is_some_and(|member| member.as_str() == PROPERTIES_CHANGED)
}

fn is_down_already(error: &str) -> bool {
    matches!(error, "org.freedesktop.systemd1.NoSuchUnit" | "org.freedesktop.systemd1.NoSuchProcess")
}

/// Why a job came to nothing, where the unit itself does not show it.
fn job_failed(result: &str) -> Option<String> {
    let why = match result {
        "dependency" => "a unit that it requires could not be started: `systemctl list-dependencies` shows which",
        "canceled" => "somebody asked systemd for something else meanwhile",
        "assert" => "an Assert= of its unit is not met",
        "unsupported" => "systemd cannot do that with this kind of unit here",
        "invalid" => "its unit cannot be started",
        _ => return None,
    };
    Some(why.to_owned())
}

/// What systemd's refusal means and what to do about it.
fn words(error: &BusError, verb: Verb, service: &ServiceName) -> String {
    match error {
        BusError::Said { name, text } => match name.rsplit('.').next().unwrap_or_default() {
            "AccessDenied" | "InteractiveAuthorizationRequired" | "AuthFailed" => format!(
                "systemd does not let this user {verb} it ({text}): run mesh as root, or allow \
                 org.freedesktop.systemd1.manage-units for its user in a polkit rule (docs/operations.md, Services)"
            ),
            "NoSuchUnit" => format!("systemd knows no such unit: name the right one in the service {service}"),
            "UnitMasked" => "its unit is masked: `systemctl unmask` it if it is to run".to_owned(),
            "TransactionIsDestructive" => "systemd is at the opposite: somebody is stopping it".to_owned(),
            _ => text.clone(),
        },
        BusError::Lost(why) => why.clone(),
    }
}

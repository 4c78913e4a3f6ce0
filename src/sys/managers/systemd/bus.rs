//! Words exchanged with systemd over the system bus, each within its deadline.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use tokio::time::timeout;
use zbus::connection::Builder;
use zbus::{Connection, DBusError as _, DynamicType, Message, MessageStream, OwnedObjectPath, OwnedVariant, fdo};

/// systemd's name on the bus.
pub(super) const SYSTEMD: &str = "org.freedesktop.systemd1";
/// Its one object that is no unit.
pub(super) const MANAGER: &str = "/org/freedesktop/systemd1";
/// What that object speaks.
pub(super) const MANAGER_WORDS: &str = "org.freedesktop.systemd1.Manager";
/// What every unit speaks.
pub(super) const UNIT_WORDS: &str = "org.freedesktop.systemd1.Unit";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
/// Their signal of a change.
pub(super) const PROPERTIES_CHANGED: &str = "PropertiesChanged";
/// The bus itself.
const BUS: &str = "org.freedesktop.DBus";
const BUS_PATH: &str = "/org/freedesktop/DBus";
/// Where the bus is when nothing else is said.
pub(super) const SYSTEM_BUS: &str = "unix:path=/run/dbus/system_bus_socket";

/// How long an answer may take. systemd answers within milliseconds unless it hangs.
const ANSWER: Duration = Duration::from_secs(5);
/// Signals that may wait while an answer is awaited. A full queue would hold up the answer.
const QUEUE: NonZeroUsize = NonZeroUsize::new(8192).expect("not 0");

/// Why there is no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum BusError {
    /// There is nobody to talk to, or not any more. Only a new connection can mend that.
    #[error("{0}")]
    Lost(String),
    /// systemd, or the bus for it, says no.
    #[error("{text}")]
    Said {
        /// The error's name, such as `org.freedesktop.systemd1.NoSuchUnit`.
        name: String,
        /// Its words.
        text: String,
    },
}

impl From<zbus::Error> for BusError {
    fn from(error: zbus::Error) -> Self {
        match error {
            zbus::Error::MethodError(name, text, _) => {
                Self::Said { text: text.unwrap_or_else(|| name.to_string()), name: name.to_string() }
            }
            zbus::Error::FDO(error) => match *error {
                fdo::Error::ServiceUnknown(_)
                | fdo::Error::NameHasNoOwner(_)
                | fdo::Error::NoReply(_)
                | fdo::Error::Disconnected(_)
                | fdo::Error::NoServer(_) => Self::Lost(format!("systemd is not on the bus: {error}")),
                error => Self::Said {
                    name: error.name().to_string(),
                    text: error.description().unwrap_or("no reason given").to_owned(),
                },
            },
            other => Self::Lost(format!("the connection to the system bus broke: {other}")),
        }
    }
}

/// One connection to the bus, and what comes in over it in the order of its coming.
pub(super) struct Bus {
    connection: Connection,
    stream: MessageStream,
}

impl Bus {
    /// Connects, asks for the signals that concern every unit, and has systemd send any.
    pub(super) async fn open(address: &str) -> Result<Self, BusError> {
        let connecting = Builder::address(address).max_queued(QUEUE).build();
        let connection = match timeout(ANSWER, connecting).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return Err(BusError::Lost(format!("the system bus is not reached: {error}"))),
            Err(_) => return Err(silent("the system bus", ANSWER)),
        };
        let stream = MessageStream::from(&connection);
        let bus = Self { connection, stream };
        for member in ["JobRemoved", "Reloading"] {
            bus.listen(&format!(
                "type='signal',sender='{SYSTEMD}',path='{MANAGER}',interface='{MANAGER_WORDS}',member='{member}'"
            ))
            .await?;
        }
        bus.listen(&format!("type='signal',sender='{BUS}',member='NameOwnerChanged',arg0='{SYSTEMD}'")).await?;
        bus.manager("Subscribe", &()).await?;
        Ok(bus)
    }

    async fn listen(&self, rule: &str) -> Result<(), BusError> {
        self.call(BUS, BUS_PATH, BUS, "AddMatch", &rule).await.map(drop)
    }

    /// Asks for the changes of one unit. Asking twice would bring each twice.
    pub(super) async fn listen_to(&self, path: &str) -> Result<(), BusError> {
        self.listen(&changes_of(path)).await
    }

    /// No more changes of this unit.
    pub(super) async fn ignore(&self, path: &str) -> Result<(), BusError> {
        self.call(BUS, BUS_PATH, BUS, "RemoveMatch", &changes_of(path).as_str()).await.map(drop)
    }

    /// The unit's object; systemd reads its file for that, if it has not yet.
    pub(super) async fn load(&self, unit: &str) -> Result<OwnedObjectPath, BusError> {
        let answer = self.manager("LoadUnit", &unit).await?;
        Ok(answer.body().deserialize()?)
    }

    /// All that an object says, under whichever words, as it is at one moment: two questions would bring a unit that still runs
    /// together with a process that has just ended.
    pub(super) async fn properties(&self, path: &str) -> Result<(HashMap<String, OwnedVariant>, Message), BusError> {
        let answer = self.call(SYSTEMD, path, PROPERTIES, "GetAll", &"").await?;
        Ok((answer.body().deserialize()?, answer))
    }

    /// Asks systemd itself.
    pub(super) async fn manager<B>(&self, method: &str, body: &B) -> Result<Message, BusError>
    where
        B: serde::Serialize + DynamicType + Sync,
    {
        self.call(SYSTEMD, MANAGER, MANAGER_WORDS, method, body).await
    }

    async fn call<B>(&self, to: &str, path: &str, words: &str, method: &str, body: &B) -> Result<Message, BusError>
    where
        B: serde::Serialize + DynamicType + Sync,
    {
        match timeout(ANSWER, self.connection.call_method(Some(to), path, Some(words), method, body)).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(silent(if to == BUS { "the system bus" } else { "systemd" }, ANSWER)),
        }
    }

    /// The next message, or why there will be none.
    pub(super) async fn next(&mut self) -> Result<Message, BusError> {
        match self.stream.next().await {
            Some(message) => Ok(message?),
            None => Err(BusError::Lost("the system bus closed the connection".to_owned())),
        }
    }

    /// The next message if there is one already.
    pub(super) fn waiting(&mut self) -> Option<Message> {
        self.stream.next().now_or_never().flatten()?.ok()
    }
}

fn silent(who: &str, within: Duration) -> BusError {
    BusError::Lost(format!("{who} did not answer within {} s", within.as_secs()))
}

fn changes_of(path: &str) -> String {
    format!("type='signal',sender='{SYSTEMD}',path='{path}',interface='{PROPERTIES}',member='{PROPERTIES_CHANGED}'")
}

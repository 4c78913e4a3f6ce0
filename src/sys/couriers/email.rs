//! Mail by SMTP.

use std::sync::Arc;

use lettre::message::{Mailbox, header};
use lettre::transport::smtp::SmtpTransport;
use lettre::transport::smtp::authentication::Credentials;
use lettre::{Message, Transport as _};

use super::{TIMEOUT, undelivered};
use crate::domain::notice::Letter;
use crate::ports::{Courier, Email, Secrets, Tls, Undelivered};

pub(super) struct Mail {
    mail: Email,
    from: Mailbox,
    to: Vec<Mailbox>,
    secrets: Arc<dyn Secrets>,
}

impl Mail {
    pub(super) fn new(mail: Email, secrets: Arc<dyn Secrets>) -> Result<Self, String> {
        crate::sys::web::choose_tls();
        let mailbox = |text: &String| text.parse::<Mailbox>().map_err(|error| format!("`{text}`: {error}"));
        let to = mail.to.iter().map(mailbox).collect::<Result<_, _>>()?;
        Ok(Self { from: mailbox(&mail.from)?, to, mail, secrets })
    }

    fn transport(&self) -> Result<SmtpTransport, Undelivered> {
        let server = &self.mail.server;
        let builder = match self.mail.tls {
            Tls::Starttls => SmtpTransport::starttls_relay(server).map_err(|error| undelivered(&error))?,
            Tls::Always => SmtpTransport::relay(server).map_err(|error| undelivered(&error))?,
            Tls::Never => SmtpTransport::builder_dangerous(server),
        };
        let builder = builder.timeout(Some(TIMEOUT));
        let builder = match self.mail.port {
            Some(port) => builder.port(port),
            None => builder,
        };
        Ok(match (&self.mail.user, &self.mail.password) {
            (Some(user), Some(password)) => {
                let password = self.secrets.read(password)?;
                builder.credentials(Credentials::new(user.clone(), password)).build()
            }
            _ => builder.build(),
        })
    }
}

impl Courier for Mail {
    fn deliver(&mut self, letter: &Letter) -> Result<(), Undelivered> {
        let message = Message::builder().from(self.from.clone()).subject(letter.title.clone());
        let message = self.to.iter().fold(message, |message, to| message.to(to.clone()));
        let message = message.header(header::ContentType::TEXT_PLAIN).body(format!("{}\n", letter.text));
        let message = message.map_err(|error| undelivered(&error))?;
        self.transport()?.send(&message).map(drop).map_err(|error| undelivered(&error))
    }
}

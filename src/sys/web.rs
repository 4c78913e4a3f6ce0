//! How this program speaks over the network to servers that the configuration names: one TLS stack, no redirect, so that
//! no secret goes to another host, and no proxy that the environment names.

use reqwest::blocking::{Client, ClientBuilder};

/// Makes ring the TLS stack of this process; once is enough, and every further time does nothing.
pub(super) fn choose_tls() {
    let _already_installed = rustls::crypto::ring::default_provider().install_default();
}

/// A client that still wants its timeouts.
pub(super) fn client(user_agent: &str) -> ClientBuilder {
    choose_tls();
    Client::builder().user_agent(user_agent).redirect(reqwest::redirect::Policy::none()).no_proxy()
}

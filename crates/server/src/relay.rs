//! Placeholder for the data path: binds, says so, watches the keys, and waits.
use crate::config::Config;
use crate::keys::{self, Sources};
use gemini_relay_core::KeySpec;

pub(crate) fn run(config: Config, keys: Vec<KeySpec>, sources: Sources) -> Result<(), std::io::Error> {
    let mut bound = Vec::new();
    let mut sockets = Vec::new();
    for listen in &config.listen {
        match std::net::TcpListener::bind(listen.address) {
            Ok(socket) => {
                bound.push(socket.local_addr()?);
                sockets.push(socket);
            }
            Err(_) if listen.optional => {}
            Err(e) => return Err(e),
        }
    }
    let _tls = crate::tls::server_config(&config).map_err(std::io::Error::other)?;
    let _client = crate::tls::client_config(&config.ca).map_err(std::io::Error::other)?;
    let _settings = config.settings();
    let _matcher = config.proxy.matcher();
    crate::banner::announce(&config, &keys, &sources, &bound);
    let _watcher = keys::watch(sources, |_| {})?;
    loop {
        std::thread::park();
    }
}

//! The HTTP server of a running command: the page, health and metrics.

mod actions;
mod doors;
mod exposition;
mod guard;
mod metrics;
mod page;
mod probe;
mod process;
mod router;

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use tokio::runtime::{Builder, Runtime};

pub(crate) use self::probe::ask;

use crate::args::{HttpArgs, HttpAt};
use crate::observe::{Observer, Sampler};
use crate::screen::Screen;
use actions::Actions;
use doors::{Caller, Doors};
use page::Site;

/// Number of ports that are tried, beginning with the wanted one
const PORTS_TRIED: u16 = 100;
/// Number of requests to the log that are answered at once
const BLOCKING_MAX: usize = 8;

/// The answering of requests, which ends when this is dropped.
pub(crate) struct Http(Option<Runtime>);

impl Http {
    /// Answers requests about what `command` does from now on, and says where.
    ///
    /// # Errors
    /// If the address cannot be had for another reason than that its port is taken.
    pub(crate) fn start(
        at: HttpAt,
        args: &HttpArgs,
        command: &'static str,
        observe: impl FnOnce() -> Result<Observer>,
        screen: &Screen,
    ) -> Result<Self> {
        let HttpAt::Address(asked) = at else {
            return Ok(Self(None));
        };
        let (listener, address) = bind(asked).with_context(|| {
            format!("listen at {asked}; use another address with --http, or --http off")
        })?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(BLOCKING_MAX)
            .thread_name("http")
            .enable_all()
            .build()
            .context("start to answer HTTP")?;
        guard::warn_of(address);
        let actions = args.http_token_file.as_deref().map(Actions::read);
        let site = Site::new(observe()?, command, address, actions.transpose()?);
        runtime.spawn(keep_history(Arc::clone(&site)));
        let router = router::router(site, guard::Names::of(address), args.http_open);
        let listener = {
            let _in_runtime = runtime.enter();
            tokio::net::TcpListener::from_std(listener).context("start to answer HTTP")?
        };
        let doors = Doors::new(listener, address);
        let router = router.into_make_service_with_connect_info::<Caller>();
        runtime.spawn(async move { axum::serve(doors, router).await });
        let taken = match asked.port() {
            0 => String::new(),
            port if port == address.port() => String::new(),
            port => format!("   (port {port} is taken)"),
        };
        screen.say(&format!("http       http://{address}{taken}"));
        Ok(Self(Some(runtime)))
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        // A request at this moment gets no answer, and nothing is lost.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Records a sample every few seconds, with or without viewers.
async fn keep_history(site: Arc<Site>) {
    let mut sampler = Sampler::default();
    loop {
        tokio::time::sleep(Sampler::pause()).await;
        let site = Arc::clone(&site);
        let sampled = tokio::task::spawn_blocking(move || {
            let observer = site.observer();
            sampler.sample(observer.service(), observer.history());
            sampler
        });
        match sampled.await {
            Ok(same) => sampler = same,
            Err(_) => return,
        }
    }
}

/// Listens at an address, or at the next port that is free.
fn bind(asked: SocketAddr) -> std::io::Result<(TcpListener, SocketAddr)> {
    let mut address = asked;
    let last = asked.port().saturating_add(PORTS_TRIED);
    loop {
        match TcpListener::bind(address) {
            Ok(listener) => {
                listener.set_nonblocking(true)?;
                let address = listener.local_addr()?;
                return Ok((listener, address));
            }
            Err(error) if error.kind() == ErrorKind::AddrInUse && address.port() < last => {
                address.set_port(address.port() + 1);
            }
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_passed_over() {
        let (_first, taken) = bind(([127, 0, 0, 1], 0).into()).unwrap();
        let (_second, next) = bind(taken).unwrap();
        assert!(next.port() > taken.port(), "{next}");
    }

    #[test]
    fn an_address_or_off() {
        assert_eq!("off".parse(), Ok(HttpAt::Off));
        let address = ([0, 0, 0, 0], 80).into();
        assert_eq!("0.0.0.0:80".parse(), Ok(HttpAt::Address(address)));
        assert!("8080".parse::<HttpAt>().is_err());
    }
}

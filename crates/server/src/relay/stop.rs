//! Being told to stop, and how systems say it.

/// From here on a signal does not end this process: whom it waits for has got it too.
pub(crate) fn leave_to_children() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut asked = Asked::new();
        // To be looked at once is enough: what a system does by itself is switched off for good.
        tokio::select! {
            biased;
            () = asked.next() => {}
            () = std::future::ready(()) => {}
        }
    });
    Ok(())
}

/// Returns each time the operator asks to stop.
pub(crate) struct Asked {
    #[cfg(unix)]
    terminate: Option<tokio::signal::unix::Signal>,
    #[cfg(windows)]
    close: Option<tokio::signal::windows::CtrlClose>,
}

impl Asked {
    /// Listens from now on. Must be called inside a runtime.
    pub(crate) fn new() -> Self {
        Self {
            #[cfg(unix)]
            terminate: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
                .ok(),
            #[cfg(windows)]
            close: tokio::signal::windows::ctrl_close().ok(),
        }
    }

    /// The next time: Ctrl-C, `SIGTERM`, a closed console.
    pub(crate) async fn next(&mut self) {
        #[cfg(unix)]
        let other = async {
            match &mut self.terminate {
                Some(signal) => drop(signal.recv().await),
                None => std::future::pending().await,
            }
        };
        #[cfg(windows)]
        let other = async {
            match &mut self.close {
                Some(close) => drop(close.recv().await),
                None => std::future::pending().await,
            }
        };
        #[cfg(not(any(unix, windows)))]
        let other = std::future::pending::<()>();
        tokio::select! {
            () = other => {}
            interrupted = tokio::signal::ctrl_c() => {
                if interrupted.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        }
    }
}

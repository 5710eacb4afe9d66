//! How a server stops: first asked, then told.

use tokio::sync::watch;

/// What the server wants of its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Serve on.
    Running,
    /// Finish the work in flight, take no more, close when idle.
    Graceful,
    /// Close at once.
    Now,
}

/// Why a server stops: the peer of a WebSocket is told, and may come back after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It goes down.
    Shutdown,
    /// Another takes over from it.
    Restart,
}

/// Says to all connections how far the stop has come.
#[derive(Debug)]
pub struct StopSender(watch::Sender<(Stop, Cause)>);

/// One connection's view of the stop.
#[derive(Clone, Debug)]
pub struct StopReceiver(watch::Receiver<(Stop, Cause)>);

/// Makes a connected pair, in the state [`Stop::Running`].
pub fn channel() -> (StopSender, StopReceiver) {
    let (sender, receiver) = watch::channel((Stop::Running, Cause::Shutdown));
    (StopSender(sender), StopReceiver(receiver))
}

impl StopSender {
    /// Goes on to `stop`; never goes back.
    pub fn send(&self, stop: Stop) {
        let cause = self.0.borrow().1;
        self.send_for(stop, cause);
    }

    /// Goes on to `stop` for this cause; never goes back.
    pub fn send_for(&self, stop: Stop, cause: Cause) {
        self.0.send_if_modified(|current| {
            let further = stop as u8 > current.0 as u8;
            if further {
                *current = (stop, cause);
            }
            further
        });
    }

    /// A new receiver of this sender.
    pub fn subscribe(&self) -> StopReceiver {
        StopReceiver(self.0.subscribe())
    }

    /// What was sent last.
    pub fn current(&self) -> Stop {
        self.0.borrow().0
    }
}

impl StopReceiver {
    /// Why the server stops; [`Cause::Shutdown`] while it does not.
    pub fn cause(&self) -> Cause {
        self.0.borrow().1
    }

    /// What was sent last.
    pub fn current(&self) -> Stop {
        self.0.borrow().0
    }

    /// Waits until the state differs from the one seen last by this receiver and returns it; a
    /// sender that is gone counts as [`Stop::Now`]. Cancel safe.
    pub async fn changed(&mut self) -> Stop {
        match self.0.changed().await {
            Ok(()) => self.0.borrow_and_update().0,
            Err(_) => Stop::Now,
        }
    }
}

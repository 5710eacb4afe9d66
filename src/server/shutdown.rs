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

/// Says to all connections how far the stop has come.
#[derive(Debug)]
pub struct StopSender(watch::Sender<Stop>);

/// One connection's view of the stop.
#[derive(Clone, Debug)]
pub struct StopReceiver(watch::Receiver<Stop>);

/// Makes a connected pair, in the state [`Stop::Running`].
pub fn channel() -> (StopSender, StopReceiver) {
    let (sender, receiver) = watch::channel(Stop::Running);
    (StopSender(sender), StopReceiver(receiver))
}

impl StopSender {
    /// Goes on to `stop`; never goes back.
    pub fn send(&self, stop: Stop) {
        self.0.send_if_modified(|current| {
            let further = stop as u8 > *current as u8;
            if further {
                *current = stop;
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
        *self.0.borrow()
    }
}

impl StopReceiver {
    /// What was sent last.
    pub fn current(&self) -> Stop {
        *self.0.borrow()
    }

    /// Waits until the state differs from the one seen last by this receiver and returns it; a
    /// sender that is gone counts as [`Stop::Now`]. Cancel safe.
    pub async fn changed(&mut self) -> Stop {
        match self.0.changed().await {
            Ok(()) => *self.0.borrow_and_update(),
            Err(_) => Stop::Now,
        }
    }
}

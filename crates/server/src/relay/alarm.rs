//! Limits in time, which every request has several of and hardly any reaches.
//!
//! Setting a timer and taking it back costs more than many things that a request is there for. So timers
//! are not taken back: whoever is done with one leaves it, set as it is, to the next on this thread, whose
//! limit is mostly the same and so a little later. It rings too early for that one, if at all, and is moved
//! then.

use hyper::rt::{Sleep as HyperSleep, Timer};
use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;
use tokio::time::Sleep;

/// Rings once it is due.
pub(crate) struct Alarm {
    due: Instant,
    /// Until it is left to the next.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Alarm {
    /// An alarm of this thread's runtime.
    pub(crate) fn at(due: Instant) -> Self {
        let left = LEFT.try_with(|left| left.borrow_mut().pop());
        let mut timer = left
            .ok()
            .flatten()
            .unwrap_or_else(|| Box::pin(tokio::time::sleep_until(due.into())));
        if timer.deadline() > due.into() {
            timer.as_mut().reset(due.into());
        }
        let timer = Some(timer);
        Self { due, timer }
    }

    /// Puts it off. It must not be made to ring earlier than it would have.
    pub(crate) fn put_off(&mut self, due: Instant) {
        self.due = due;
    }

    /// When it rings.
    pub(crate) const fn due(&self) -> Instant {
        self.due
    }

    /// Ready when it is due.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(timer) = &mut self.timer else {
            return Poll::Pending;
        };
        loop {
            ready!(timer.as_mut().poll(cx));
            if Instant::now() >= self.due {
                return Poll::Ready(());
            }
            timer.as_mut().reset(self.due.into());
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        let Some(timer) = self.timer.take() else {
            return;
        };
        // When the thread ends there is nobody to leave it to.
        let _ = LEFT.try_with(|left| {
            let mut left = left.borrow_mut();
            if left.len() < MOST_LEFT {
                left.push(timer);
            }
        });
    }
}

/// hyper's limit for a request's head, as an alarm.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Alarms;

struct Limit(Alarm);

impl Timer for Alarms {
    fn sleep(&self, duration: std::time::Duration) -> Pin<Box<dyn HyperSleep>> {
        self.sleep_until(Instant::now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn HyperSleep>> {
        Box::pin(Limit(Alarm::at(deadline)))
    }
}

impl Future for Limit {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.poll(cx)
    }
}

impl HyperSleep for Limit {}

thread_local! {
    static LEFT: RefCell<Vec<Pin<Box<Sleep>>>> = const { RefCell::new(Vec::new()) };
}

/// A busy moment's; each remembers whom it would have woken last.
const MOST_LEFT: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const SOON: Duration = Duration::from_millis(20);
    const LATER: Duration = Duration::from_secs(3600);

    #[test]
    fn an_alarm_rings_when_due_whatever_the_one_before_was_set_to() {
        for before in [Duration::ZERO, SOON, LATER] {
            on_a_thread(async move || {
                drop(Alarm::at(after(before)));
                let took = rings(Alarm::at(after(SOON))).await;
                assert!(took >= SOON && took < LATER, "{before:?}: {took:?}");
            });
        }
    }

    #[test]
    fn one_that_is_put_off_rings_then() {
        on_a_thread(async || {
            let mut alarm = Alarm::at(after(SOON));
            alarm.put_off(after(SOON * 3));
            assert!(rings(alarm).await >= SOON * 2);
        });
    }

    #[test]
    fn timers_are_used_again_and_only_so_many_are_kept() {
        on_a_thread(async || {
            let left = || LEFT.with(|left| left.borrow().len());
            let many: Vec<Alarm> = (0..MOST_LEFT * 2)
                .map(|_| Alarm::at(after(LATER)))
                .collect();
            drop(many);
            assert_eq!(left(), MOST_LEFT);
            let one = Alarm::at(after(LATER));
            assert_eq!(left(), MOST_LEFT - 1);
            drop(one);
        });
    }

    async fn rings(mut alarm: Alarm) -> Duration {
        let began = Instant::now();
        std::future::poll_fn(|cx| alarm.poll(cx)).await;
        began.elapsed()
    }

    fn after(span: Duration) -> Instant {
        Instant::now() + span
    }

    /// In a runtime of a thread's own, as workers have it.
    fn on_a_thread<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
        let run = move || {
            tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .unwrap()
                .block_on(test());
        };
        std::thread::spawn(run).join().unwrap();
    }
}

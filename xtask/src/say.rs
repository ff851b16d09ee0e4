//! What tasks tell the person who runs them: lines on standard error, so that what a task was
//! asked to print stays alone on standard output.

use std::fmt;
use std::io::{self, Write as _};

/// Writes one line. A closed standard error is no reason to fail a task.
pub(crate) fn line(text: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

macro_rules! say {
    ($($text:tt)*) => { $crate::say::line(format_args!($($text)*)) };
}
pub(crate) use say;

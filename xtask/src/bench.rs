//! Being written.
pub(crate) fn run(_: &[String]) -> Result<(), String> {
    Err("bench is not there yet".to_owned())
}

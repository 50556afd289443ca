//! A length of time as a person types it, such as `7d`.

use std::time::Duration;

pub fn parse(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("it would release everybody; give a longer time".to_owned()),
        Ok(age) => Ok(age),
        Err(error) => Err(format!("{error}; give a number with a unit, such as 12h or 7d")),
    }
}

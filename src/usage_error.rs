//! One line of what clap says about a wrong command line. Knows only the layout of clap's message:
//! paragraphs, of which the first begins with `error: ` and the usage follows the reasons.

/// The message in clap's own words, without the usage, and where to find the usage.
pub fn one_line(message: &str) -> String {
    let mut reasons = Vec::new();
    for paragraph in message.split("\n\n") {
        if paragraph.starts_with("Usage: ") || paragraph.starts_with("For more information") {
            break;
        }
        let lines: Vec<&str> = paragraph.lines().map(str::trim).collect();
        reasons.push(lines.join(" "));
    }
    let reasons = reasons.join("; ");
    let reasons = reasons.strip_prefix("error: ").unwrap_or(&reasons);
    format!("{reasons}; see wanpool help")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::one_line;
    use crate::cli::Cli;

    #[test]
    fn a_wrong_command_line_is_explained_in_one_line_in_the_words_of_clap() {
        for (typed, line) in [
            ("flush --all", "unexpected argument '--all' found"),
            (
                "asign",
                "unrecognized subcommand 'asign'; tip: a similar subcommand exists: 'assign'",
            ),
            ("failover", "the following required arguments were not provided: <UPLINK>..."),
            (
                "-w soon",
                "invalid value 'soon' for '--wait <SECONDS>': invalid digit found in string",
            ),
            (
                "-c=red",
                "invalid value 'red' for '--color[=<WHEN>]' [possible values: always, auto, never]",
            ),
            ("-q -v", "the argument '--quiet' cannot be used with '--verbose'"),
            (
                "pools --check --metrics 1",
                "the argument '--check' cannot be used with: --metrics [UPLINK|CLIENT]",
            ),
            ("flush two\nlines", "unexpected argument 'two lines' found"),
        ] {
            let words = ["wanpool"].into_iter().chain(typed.split(' '));
            let error = Cli::try_parse_from(words).expect_err(typed);
            assert_eq!(one_line(&error.to_string()), format!("{line}; see wanpool help"));
        }
    }
}

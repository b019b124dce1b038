//! Options as Go's programs write them: long ones with one dash, and flags with a value.
//!
//! clap knows neither. What follows a verb is rewritten to its forms, up to where the options end: the words of a
//! program that `exec` runs are nobody's options, whatever they look like.

use std::ffi::OsString;

use clap::{Arg, ArgAction, Command};

use crate::error::{Error, Result};

/// `-no-subreaper` to `--no-subreaper` and `--detach=false` to nothing, for options that the verb has.
pub(super) fn with_two(command: &Command, rest: Vec<OsString>) -> Result<Vec<OsString>> {
    let ends_at_a_word = command.get_positionals().any(Arg::is_trailing_var_arg_set);
    let mut rest = rest.into_iter();
    let mut words: Vec<OsString> = Vec::new();
    while let Some(word) = rest.next() {
        let text = word.to_string_lossy().into_owned();
        let is_option = text.len() > 1 && text.starts_with('-') && text != "--";
        if text == "--" || (!is_option && ends_at_a_word) {
            words.push(word);
            break;
        }
        if !is_option {
            words.push(word);
            continue;
        }
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text.as_str(), None),
        };
        let Some(long) = long(command, name) else {
            let takes_next = short_that_wants_more(command, &text);
            words.push(word);
            words.extend(rest.by_ref().take(usize::from(takes_next)));
            continue;
        };
        let dashes = format!("--{}", long.get_long().unwrap_or_default());
        match value {
            Some(value) if is_flag(long) => {
                words.retain(|word| *word != *dashes && Some(word.as_os_str()) != short(long).as_deref());
                words.extend(truth(&dashes, value)?.then(|| dashes.into()));
            }
            _ => {
                words.push(if text.starts_with("--") { word } else { with_one_more(word) });
                words.extend(rest.by_ref().take(usize::from(value.is_none() && !is_flag(long))));
            }
        }
    }
    words.extend(rest);
    Ok(words)
}

/// A truth value of an option, in the words of Go's `strconv.ParseBool`.
pub(super) fn truth(option: &str, value: &str) -> Result<bool> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(Error::invalid(format!("invalid boolean value {value:?} for {option}"))),
    }
}

/// The option that `name`, with one dash or two, is the long form of. A single letter is a short one.
fn long<'a>(command: &'a Command, name: &str) -> Option<&'a Arg> {
    let name = name.strip_prefix("--").or_else(|| name.strip_prefix('-').filter(|name| name.len() > 1))?;
    command.get_arguments().find(|argument| argument.get_long() == Some(name))
}

fn is_flag(argument: &Arg) -> bool {
    matches!(argument.get_action(), ArgAction::SetTrue)
}

fn short(argument: &Arg) -> Option<OsString> {
    argument.get_short().map(|letter| format!("-{letter}").into())
}

fn with_one_more(word: OsString) -> OsString {
    let mut dashed = OsString::from("-");
    dashed.push(word);
    dashed
}

/// Whether the last of these letters (`-td`, `-u`) is an option whose value is the next word.
fn short_that_wants_more(command: &Command, letters: &str) -> bool {
    let mut letters = letters.trim_start_matches('-').chars();
    while let Some(letter) = letters.next() {
        match command.get_arguments().find(|argument| argument.get_short() == Some(letter)) {
            Some(argument) if !is_flag(argument) => return letters.as_str().is_empty(),
            Some(_) => (),
            None => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::verbs;

    fn exec(line: &str) -> Result<String> {
        let words = line.split(' ').map(OsString::from).collect();
        let words = with_two(&verbs::Exec::command(), words)?;
        Ok(words.join(" ".as_ref()).into_string().unwrap())
    }

    #[test]
    fn words_of_the_program_stay_as_they_are() {
        for (line, clap) in [
            ("x find -user root -- -env", "x find -user root -- -env"),
            ("-user root x -user root", "--user root x -user root"),
            ("-u root -tty x -tty", "-u root --tty x -tty"),
            ("-tu root x -tty", "-tu root x -tty"),
            ("-uroot x -tty", "-uroot x -tty"),
            ("-env=A=-cwd -cwd /a x -cwd", "--env=A=-cwd --cwd /a x -cwd"),
            ("-env -tty x", "--env -tty x"),
            ("-- x -tty", "-- x -tty"),
        ] {
            assert_eq!(exec(line).unwrap(), clap, "{line}");
        }
    }

    #[test]
    fn flags_take_a_value_and_the_last_one_counts() {
        for (line, clap) in [
            ("-detach=true x", "--detach x"),
            ("--detach=0 x", "x"),
            ("-d --detach --tty=T -detach=false x", "--tty x"),
            ("--detach=f --detach x", "--detach x"),
        ] {
            assert_eq!(exec(line).unwrap(), clap, "{line}");
        }
        let error = exec("--detach=maybe x").unwrap_err().to_string();
        assert!(error.contains("invalid boolean value \"maybe\" for --detach"), "{error}");
    }
}

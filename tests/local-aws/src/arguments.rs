//! The arguments of the program `local-aws`.

use std::ffi::OsString;
use std::path::PathBuf;

pub const USAGE: &str = "\
usage: local-aws [--handler DIR] [--once]

Starts a local AWS, deploys service discovery to it for two environments, and
shows it in a demo. Then it stays up until Ctrl-C.

  --handler DIR  deploy the prebuilt handler DIR/bootstrap; without this option
                 the CDK builds the handler
  --once         end after the demo
  --help         print this text";

/// What the arguments request.
#[derive(Debug, PartialEq, Eq)]
pub enum ParsedArguments {
    Help,
    Run(RunOptions),
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct RunOptions {
    /// The absolute path of a folder with a prebuilt handler.
    pub handler: Option<PathBuf>,
    /// End after the demo.
    pub once: bool,
}

/// Parses the arguments after the program's name. The error is a sentence for the user.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<ParsedArguments, String> {
    let mut options = RunOptions::default();
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let text = argument.to_string_lossy();
        if text == "--help" || text == "-h" {
            return Ok(ParsedArguments::Help);
        } else if text == "--once" {
            options.once = true;
        } else if text == "--handler" {
            let folder = arguments.next().ok_or("--handler needs a folder")?;
            options.handler = Some(handler(folder)?);
        } else if let Some(folder) = text.strip_prefix("--handler=") {
            options.handler = Some(handler(folder.into())?);
        } else {
            return Err(format!("unknown argument: {text}"));
        }
    }
    Ok(ParsedArguments::Run(options))
}

fn handler(folder: OsString) -> Result<PathBuf, String> {
    let folder = PathBuf::from(folder);
    if !folder.join("bootstrap").is_file() {
        return Err(format!("--handler: {} contains no file bootstrap", folder.display()));
    }
    std::path::absolute(&folder).map_err(|error| format!("--handler: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(arguments: &[&str]) -> Result<ParsedArguments, String> {
        parse(arguments.iter().map(OsString::from))
    }

    #[test]
    fn without_arguments_the_cdk_builds_the_handler_and_the_system_stays_up() {
        assert_eq!(check(&[]), Ok(ParsedArguments::Run(RunOptions { handler: None, once: false })));
    }

    #[test]
    fn a_folder_with_a_bootstrap_becomes_an_absolute_path() {
        let folder = std::env::temp_dir().join(format!("local-aws-test-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("the folder can be created");
        std::fs::write(folder.join("bootstrap"), "").expect("the file can be written");
        let text = folder.to_str().expect("the path is UTF-8");
        let joined = format!("--handler={text}");
        let expected =
            Ok(ParsedArguments::Run(RunOptions { handler: Some(folder.clone()), once: true }));
        assert_eq!(check(&["--handler", text, "--once"]), expected);
        assert_eq!(check(&[&joined, "--once"]), expected);

        std::fs::remove_dir_all(&folder).expect("the folder can be removed");
        let refusal = Err(format!("--handler: {text} contains no file bootstrap"));
        assert_eq!(check(&["--handler", text]), refusal);
    }

    #[test]
    fn help_is_printed_whatever_follows() {
        assert_eq!(check(&["--once", "--help", "--nonsense"]), Ok(ParsedArguments::Help));
        assert_eq!(check(&["-h"]), Ok(ParsedArguments::Help));
    }

    #[test]
    fn an_unknown_argument_is_refused() {
        for (arguments, expected) in [
            (&["--twice"][..], "unknown argument: --twice"),
            (&["--once", "now"], "unknown argument: now"),
            (&["--handler"], "--handler needs a folder"),
        ] {
            assert_eq!(check(arguments), Err(expected.to_owned()));
        }
    }

    #[test]
    fn the_usage_fits_the_terminal() {
        assert!(USAGE.lines().all(|line| line.chars().count() <= 80));
    }
}

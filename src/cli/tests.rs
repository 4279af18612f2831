//! The texts of the top level.

use super::*;

fn run(args: &[&str]) -> Result<(), Failed> {
    let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    dispatch("kamal-proxy", &args)
}

#[test]
fn an_unknown_command_is_named_with_what_may_be_meant() {
    let failed = run(&["foo"]).unwrap_err();
    assert_eq!(failed.error, "unknown command \"foo\" for \"kamal-proxy\"");
    assert_eq!(failed.tail, "Run 'kamal-proxy --help' for usage.\n");
    let failed = run(&["delpoy"]).unwrap_err();
    assert_eq!(failed.tail, "\nDid you mean this?\n\tdeploy\n\nRun 'kamal-proxy --help' for usage.\n");
}

#[test]
fn there_is_no_version_flag() {
    assert_eq!(run(&["--version"]).unwrap_err().error, "unknown flag: --version");
    assert_eq!(run(&["-v"]).unwrap_err().error, "unknown shorthand flag: 'v' in -v");
}

#[test]
fn names_are_counted_after_flags_are_parsed() {
    for (args, error) in [
        (&["deploy"][..], "accepts 1 arg(s), received 0"),
        (&["deploy", "a", "b", "--target", "xx"], "accepts 1 arg(s), received 2"),
        (&["deploy", "a", "b", "--bogus"], "unknown flag: --bogus"),
        (&["list", "extra"], "unknown command \"extra\" for \"kamal-proxy list\""),
        (&["ls", "extra"], "unknown command \"extra\" for \"kamal-proxy list\""),
        (&["rm"], "accepts 1 arg(s), received 0"),
        (&["pause"], "accepts 1 arg(s), received 0"),
        (&["pause", "a", "--all"], "either name services or give --all, not both"),
        (&["check", "a", "b"], "accepts at most 1 arg(s), received 2"),
        (&["handoffs", "--limit=-1"], "invalid argument \"-1\" for \"--limit\" flag: expected 0 or more"),
        (&["rollout", "set", "s1"], "at least one of the flags in the group [percent list] is required"),
        (&["rollout", "deploy", "s1"], "required flag(s) \"target\" not set"),
        (&["rollout", "stop"], "accepts 1 arg(s), received 0"),
    ] {
        assert_eq!(run(args).unwrap_err().error, error, "{args:?}");
    }
}

#[test]
fn help_names_every_command_and_flag() {
    let overview = help::overview("kamal-proxy");
    for command in COMMANDS {
        assert!(overview.contains(&format!("  {}", command.name)), "{}", command.name);
        let text = help::of_command("kamal-proxy", command);
        for flag in (command.flags)() {
            assert!(text.contains(&format!("--{}", flag.name)), "{}: {}", command.name, flag.name);
        }
    }
}

#[test]
fn no_command_has_two_flags_of_one_name() {
    for command in COMMANDS {
        let mut names: Vec<&str> = (command.flags)().iter().map(|flag| flag.name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count, "{}", command.name);
    }
}

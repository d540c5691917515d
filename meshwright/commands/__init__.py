"""The commands of `meshwright`, a module each subject; docs/cli.md says how one is added."""

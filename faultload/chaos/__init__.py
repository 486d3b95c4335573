"""The Chaos Toolkit side: actions, fault journal, warden, guard and gate."""

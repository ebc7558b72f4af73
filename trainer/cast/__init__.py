"""Many characters at once, shared among workers, with one report; and one sweep, shared among several hosts."""

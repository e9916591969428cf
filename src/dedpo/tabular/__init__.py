"""Tables from outside: of any dialect, in any coding of preferences; rows that are set aside."""

"""Tell people and programs outside: a signed webhook, a chat, a mail. Each is sent by a job."""

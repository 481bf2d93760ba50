"""A Service Bus broker for this machine: AMQP 1.0, sessions, locks, dead letters, rules; standard library only.

It stands for Azure's durable service where the real one is not at hand, and is as strict: what Azure refuses, it
refuses with the same error condition. Messages live in memory. The unmodified `azure-servicebus` client speaks to it
with the connection string the `ready` line's address goes into:

    Endpoint=sb://127.0.0.1:5679;SharedAccessKeyName=RootManageSharedAccessKey;SharedAccessKey=SAS_KEY_VALUE;UseDevelopmentEmulator=true;

`codec`, `frames`, `session` and `engine` know AMQP and no queue; `message`, `rules`, `config`, `deadlines`, `queues`
and `entities` know Service Bus and no socket; `links` and `management` bring them together; `server` listens, and says
on its control port what is held.
"""

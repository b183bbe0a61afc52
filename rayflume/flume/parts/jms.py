"""The JMS source. User guide: JMS Source."""

from __future__ import annotations

from rayflume.flume.names import FlumePart, Prop, Status
from rayflume.flume.parts._refused import refused

_LATER = "belongs to the JMS source, which is not yet in rayflume"
_JNDI = f"{_LATER}; JNDI is a Java directory, so name the broker itself then"
_WHY = (
    "JMS is not yet in rayflume; until then write a source of your own in Python "
    "(docs/own-parts.md) with a client of the broker's protocol, such as STOMP or AMQP, or keep a "
    "small Flume agent that reads the queue and forwards with its `http` sink to the `http` source"
)

PARTS = (
    FlumePart(
        kind="source",
        types=("jms",),
        java_class="org.apache.flume.source.jms.JMSSource",
        batch="batchSize",
        props=(
            *refused(_JNDI, "initialContextFactory!", "connectionFactory=ConnectionFactory"),
            *refused(_JNDI, "providerURL!", "destinationLocator=CDI"),
            *refused(
                _LATER,
                "destinationName!", "destinationType!", "messageSelector", "userName",
                "passwordFile", "batchSize=100", "errorThreshold=10", "pollTimeout=1000",
                "createDurableSubscription=false", "clientId", "durableSubscriptionName",
                "backoffSleepIncrement=1000", "maxBackoffSleep=5000",
            ),
            Prop("converter.type", "DEFAULT", why=_LATER),
            Prop(
                "converter.charset",
                "UTF-8",
                why="Flume 1.11 always writes text messages as UTF-8, whatever it says; remove it",
            ),
            Prop("converter.*", why=_LATER),
        ),
        status=Status.NOT_YET,
        why=_WHY,
    ),
    FlumePart(
        kind="jms_message_converter",
        types=("DEFAULT",),
        java_class="org.apache.flume.source.jms.DefaultJMSMessageConverter$Builder",
        props=refused("Flume 1.11 always writes UTF-8; remove it", "charset=UTF-8"),
        status=Status.NOT_YET,
        why=_WHY,
    ),
)  # fmt: skip

"""Publishes jobs as an app in Python would, with pika: one JSON object a line on standard input.

    publish.py amqp://guest:guest@localhost/%2f < messages
"""

import json
import sys

import pika
from pika import data

encode = data.encode_short_string


def latin1(pieces, value):
    """As a library would that does not know that AMQP wants UTF-8."""
    encoded = value.encode("latin-1")
    pieces.append(bytes([len(encoded)]) + encoded)
    return 1 + len(encoded)


connection = pika.BlockingConnection(pika.URLParameters(sys.argv[1]))
channel = connection.channel()
channel.confirm_delivery()
for line in sys.stdin:
    message = json.loads(line)
    # Its properties are encoded when they are sent.
    data.encode_short_string = latin1 if message.get("latin1") else encode
    properties = pika.BasicProperties(
        type=message.get("type"),
        message_id=message.get("message_id"),
        app_id=message.get("app_id"),
        headers=message.get("headers"),
        content_type="application/json",
        delivery_mode=pika.DeliveryMode.Persistent,
    )
    # Raises unless the broker has the message in a queue, on disk.
    channel.basic_publish(
        exchange="longshore.jobs",
        routing_key=message["routing_key"],
        body=message["body"].encode(),
        properties=properties,
        mandatory=True,
    )
connection.close()

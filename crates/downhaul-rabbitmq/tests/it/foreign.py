"""What a service with pika does: publishes what others would send, and prints what it consumes."""

import datetime
import decimal
import json
import sys

import pika


def properties_of_celery():
    return pika.BasicProperties(
        content_type="application/json",
        content_encoding="utf-8",
        correlation_id="d3adb33f-task",
        reply_to="c0ffee-replies",
        delivery_mode=2,
        priority=0,
        headers={
            "lang": "py",
            "task": "shop.reserve",
            "id": "d3adb33f-task",
            "shadow": None,
            "eta": None,
            "group_index": None,
            "retries": 0,
            "timelimit": [None, None],
            "argsrepr": "(7,)",
            "kwargsrepr": "{}",
            "origin": "gen42@shop",
            "ignore_result": False,
        },
    )


def properties_of_masstransit():
    return pika.BasicProperties(
        content_type="application/vnd.masstransit+json",
        message_id="08dc0000-5d5f-0015-0000-000000000007",
        correlation_id="08dc0000-5d5f-0015-0000-0000000000aa",
        delivery_mode=2,
        timestamp=1700000000,
        headers={
            "Content-Type": "application/vnd.masstransit+json",
            "publishId": "1",
            "MT-Activity-Id": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        },
    )


def properties_of_every_type():
    return pika.BasicProperties(
        message_id="types",
        type="t",
        app_id="a",
        reply_to="answers",
        priority=7,
        content_encoding="gzip",
        correlation_id="call-7",
        user_id="guest",
        expiration="600000",
        headers={
            "text": "Ünal & Söhne",
            "bytes": b"raw",
            "yes": True,
            "small": -7,
            "large": 1 << 40,
            "when": datetime.datetime(2023, 11, 14, 22, 13, 20, tzinfo=datetime.timezone.utc),
            "half": decimal.Decimal("0.5"),
            "nested": {"a": {"b": [1, "2", None]}},
            "nothing": None,
            "x-death": "the broker's",
            "x-theirs": "carried",
            "amqp-priority": "no property",
            "request-id": "request-7",
        },
    )


def publish(channel, exchange, key):
    channel.confirm_delivery()
    celery = json.dumps([[7], {}, {"callbacks": None, "errbacks": None}])
    masstransit = json.dumps(
        {"messageType": ["urn:message:Shop:OrderCreated"], "message": {"orderId": 7}}
    )
    for body, properties in [
        (b"bare", None),
        (celery.encode(), properties_of_celery()),
        (masstransit.encode(), properties_of_masstransit()),
        (b"types", properties_of_every_type()),
    ]:
        channel.basic_publish(exchange, key, body, properties, mandatory=True)


def consume(channel, queue, count):
    seen = []
    for method, properties, body in channel.consume(queue, inactivity_timeout=30):
        if method is None:
            sys.exit(f"nothing came after {len(seen)} messages")
        seen.append(
            {
                "body": body.decode(),
                "message_id": properties.message_id,
                "content_type": properties.content_type,
                "correlation_id": properties.correlation_id,
                "delivery_mode": properties.delivery_mode,
                "reply_to": properties.reply_to,
                "type": properties.type,
                "app_id": properties.app_id,
                "priority": properties.priority,
                "content_encoding": properties.content_encoding,
                "timestamp": properties.timestamp,
                "headers": properties.headers,
                "exchange": method.exchange,
                "routing_key": method.routing_key,
            }
        )
        channel.basic_ack(method.delivery_tag)
        if len(seen) == count:
            break
    channel.cancel()
    print(json.dumps(seen, ensure_ascii=True))


def call(channel, queue, body):
    """Asks, and prints the answer: RabbitMQ's own way of remote calls, without a queue for it."""
    answers = "amq.rabbitmq.reply-to"
    # It is to listen before it asks.
    next(channel.consume(answers, auto_ack=True, inactivity_timeout=0.01))
    properties = pika.BasicProperties(reply_to=answers, correlation_id="call-7")
    channel.basic_publish("", queue, body.encode(), properties)
    incoming = channel.consume(answers, auto_ack=True, inactivity_timeout=30)
    method, properties, body = next(incoming)
    if method is None:
        sys.exit("no answer")
    print(json.dumps([body.decode(), properties.correlation_id]))


def main():
    url, verb, *rest = sys.argv[1:]
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    if verb == "publish":
        publish(channel, *rest)
    elif verb == "call":
        call(channel, *rest)
    else:
        consume(channel, rest[0], int(rest[1]))
    connection.close()


main()

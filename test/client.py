#!/usr/bin/python3
"""A device as people write them: Python with paho-mqtt, of either major version.

    client.py pub HOST:PORT TOPIC PAYLOAD   publishes with QoS 1, ends when acknowledged
    client.py sub HOST:PORT FILTER          prints TOPIC PAYLOAD [retained] for ever
    with --ws over WebSocket, with --v5 as MQTT 5, with --retain retained
"""
import sys
import paho.mqtt.client as mqtt

args = [a for a in sys.argv[1:] if not a.startswith("--")]
options = {a for a in sys.argv[1:] if a.startswith("--")}
what, (host, port), topic = args[0], args[1].rsplit(":", 1), args[2]


def connected(client, userdata, flags, reason, properties=None):
    if reason != 0:
        sys.exit(f"refused: {reason}")
    if what == "pub":
        client.publish(topic, args[3], qos=1, retain="--retain" in options)
    else:
        client.subscribe(topic, qos=1)


def message(client, userdata, m):
    print(m.topic, m.payload.decode(), "retained" if m.retain else "", flush=True)


def published(client, *_):
    client.disconnect()


settings = {
    "protocol": mqtt.MQTTv5 if "--v5" in options else mqtt.MQTTv311,
    "transport": "websockets" if "--ws" in options else "tcp",
}
if hasattr(mqtt, "CallbackAPIVersion"):
    settings["callback_api_version"] = mqtt.CallbackAPIVersion.VERSION2
client = mqtt.Client(**settings)
client.on_connect, client.on_message, client.on_publish = connected, message, published
client.connect(host, int(port), keepalive=30)
client.loop_forever(retry_first_connection=False)

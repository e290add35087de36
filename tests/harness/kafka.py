"""A Kafka client of another make beside the server under test: who leads a partition, what is in a topic,
and records that no Rookery would write."""

import functools
import time
from dataclasses import dataclass, field

from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from confluent_kafka import ConsumerGroupTopicPartitions
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic

from .services import PASSWORD, USER

ANSWER_SECONDS = 30


@dataclass
class Record:
    """One record of a topic."""

    partition: int
    offset: int
    key: bytes
    value: bytes
    headers: dict[str, bytes] = field(default_factory=dict)


class Kafka:
    """See the module."""

    def __init__(self, brokers: str) -> None:
        self._options = {
            "bootstrap.servers": brokers, "security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN",
            "sasl.username": USER, "sasl.password": PASSWORD,
            # That brokers are away is what tests are about.
            "log_level": 2,
        }

    @functools.cached_property
    def _admin(self) -> AdminClient:
        """Kept: what it is asked is answered while it lives."""
        return AdminClient(self._options)

    def _metadata(self, topic: str):
        return self._admin.list_topics(topic, timeout=ANSWER_SECONDS).topics[topic]

    def leaders(self, topic: str) -> dict[int, str]:
        """The service that leads each partition."""
        partitions = self._metadata(topic).partitions
        return {number: f"kafka-{partition.leader}" for number, partition in partitions.items()}

    def in_sync(self, topic: str) -> int:
        """The fewest replicas in sync of any partition."""
        return min(len(partition.isrs) for partition in self._metadata(topic).partitions.values())

    def wait_in_sync(self, topic: str, replicas: int = 3) -> float:
        """Waits until every partition has so many replicas in sync; how long it took, s."""
        begin = time.monotonic()
        while (fewest := self.in_sync(topic)) < replicas:
            assert time.monotonic() < begin + 120, f"{fewest} replicas in sync, {replicas} expected"
            time.sleep(0.2)
        return time.monotonic() - begin

    def delete(self, *topics: str) -> None:
        """Topics of a test that is over."""
        for deleted in self._admin.delete_topics(list(topics)).values():
            deleted.result(ANSWER_SECONDS)

    def create(self, topic: str, partitions: int) -> None:
        """An empty topic, as somebody makes it by hand."""
        for created in self._admin.create_topics([NewTopic(topic, partitions, 3)]).values():
            created.result(ANSWER_SECONDS)

    def grow(self, topic: str, partitions: int) -> None:
        """Adds partitions, as `kafka-topics.sh --alter` does, and waits until every broker tells of them."""
        for grown in self._admin.create_partitions([NewPartitions(topic, partitions)]).values():
            grown.result(ANSWER_SECONDS)
        deadline = time.monotonic() + ANSWER_SECONDS
        while self.partitions(topic) < partitions:
            assert time.monotonic() < deadline, f"{topic} has {self.partitions(topic)} partitions"
            time.sleep(0.2)

    def partitions(self, topic: str) -> int:
        """How many it has."""
        return len(self._metadata(topic).partitions)

    def rewind(self, group: str, topic: str) -> None:
        """Sets the offsets of a group without members back to the beginning."""
        offsets = [TopicPartition(topic, number, 0) for number in self._metadata(topic).partitions]
        asked = ConsumerGroupTopicPartitions(group, offsets)
        for altered in self._admin.alter_consumer_group_offsets([asked]).values():
            altered.result(ANSWER_SECONDS)

    def delete_group(self, group: str) -> None:
        """A group without members, and its offsets."""
        for deleted in self._admin.delete_consumer_groups([group]).values():
            deleted.result(ANSWER_SECONDS)

    def alter(self, topic: str, name: str, value: str) -> None:
        """Changes one setting of a topic."""
        entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
        for altered in self._admin.incremental_alter_configs([resource]).values():
            altered.result(ANSWER_SECONDS)

    def produce(self, topic: str, key: bytes, value: bytes, partition: int) -> int:
        """Appends one record and waits until it is there; its offset."""
        reports: list = []
        producer = Producer({**self._options, "acks": "all"})
        producer.produce(topic, value, key, partition, on_delivery=lambda error, record: reports.append((error, record)))
        producer.flush(ANSWER_SECONDS)
        assert reports and reports[0][0] is None, f"not delivered: {reports}"
        return reports[0][1].offset()

    def records(self, topic: str) -> list[Record]:
        """Everything that the topic holds at this moment, partition by partition."""
        consumer = Consumer({**self._options, "group.id": "reader-of-tests", "enable.auto.commit": False,
                             "enable.partition.eof": False})
        try:
            ends = {number: consumer.get_watermark_offsets(TopicPartition(topic, number), ANSWER_SECONDS)[1]
                    for number in self._metadata(topic).partitions}
            consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in ends])
            found: list[Record] = []
            deadline = time.monotonic() + ANSWER_SECONDS
            while any(position.offset < ends[position.partition] for position in self._positions(consumer, topic, ends)):
                assert time.monotonic() < deadline, f"{topic} cannot be read to its end"
                for message in consumer.consume(1000, 0.2):
                    assert message.error() is None, message.error()
                    found.append(Record(message.partition(), message.offset(), message.key(), message.value(),
                                        dict(message.headers() or [])))
            return sorted(found, key=lambda record: (record.partition, record.offset))
        finally:
            consumer.close()

    @staticmethod
    def _positions(consumer: Consumer, topic: str, ends: dict[int, int]) -> list[TopicPartition]:
        """Where it stands; an empty partition is read at once."""
        positions = consumer.position([TopicPartition(topic, number) for number, end in ends.items() if end > 0])
        return [TopicPartition(topic, each.partition, max(each.offset, 0)) for each in positions]

    def partition_of(self, topic: str, conversation: int) -> int:
        """The partition of a conversation that has a record there."""
        key = conversation.to_bytes(8, "big")
        return next(record.partition for record in self.records(topic) if record.key == key)

    def leader_of(self, topic: str, conversation: int) -> str:
        """The service that leads a conversation's partition."""
        return self.leaders(topic)[self.partition_of(topic, conversation)]


class DryKafka(Kafka):
    """None, to try the tests themselves."""

    def __init__(self) -> None:
        super().__init__("")

    def leader_of(self, topic: str, conversation: int) -> str:
        return "kafka-1"

    def wait_in_sync(self, topic: str, replicas: int = 3) -> float:
        return 0.0

    def produce(self, topic: str, key: bytes, value: bytes, partition: int) -> int:
        return 0

    def partition_of(self, topic: str, conversation: int) -> int:
        return 0

    def records(self, topic: str) -> list[Record]:
        return []

    def delete(self, *topics: str) -> None:
        pass

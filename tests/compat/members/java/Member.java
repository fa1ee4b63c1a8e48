// A member of a group with Apache Kafka's own client, by either protocol. What it is asked and what
// it writes is described in tests/compat/matrix/events.rs.
import java.io.IOException;
import java.time.Duration;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

public class Member {
    private final String name;
    private final String topic;
    private final KafkaConsumer<byte[], byte[]> consumer;
    private final Map<Integer, Long> pending = new HashMap<>();

    public static void main(String[] arguments) {
        var told = new AtomicBoolean();
        var ears = new Thread(() -> {
            try {
                System.in.readAllBytes();
            } catch (IOException error) {
                say("trouble", "text", quoted(error.toString()));
            }
            told.set(true);
        });
        ears.setDaemon(true);
        ears.start();
        new Member(arguments[0]).run(told);
    }

    private Member(String asked) {
        name = text(asked, "name");
        topic = text(asked, "topic");
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", text(asked, "broker"));
        config.put("client.id", name);
        config.put("group.id", text(asked, "group"));
        config.put("group.protocol", text(asked, "protocol"));
        config.put("auto.offset.reset", "earliest");
        config.put("enable.auto.commit", false);
        config.put("max.poll.interval.ms", number(asked, "poll_ms"));
        config.put("max.poll.records", 100);
        config.put("metadata.max.age.ms", 1000);
        config.put("reconnect.backoff.max.ms", 500);
        config.put("default.api.timeout.ms", 5000);
        config.put("request.timeout.ms", 5000);
        if (text(asked, "instance") != null) {
            config.put("group.instance.id", text(asked, "instance"));
        }
        if (text(asked, "protocol").equals("classic")) {
            config.put("session.timeout.ms", number(asked, "session_ms"));
            config.put("heartbeat.interval.ms", number(asked, "heartbeat_ms"));
            String assignor = switch (text(asked, "assignor")) {
                case "range" -> "RangeAssignor";
                case "roundrobin" -> "RoundRobinAssignor";
                case "cooperative-sticky" -> "CooperativeStickyAssignor";
                default -> throw new IllegalArgumentException(asked);
            };
            String room = "org.apache.kafka.clients.consumer.";
            config.put("partition.assignment.strategy", room + assignor);
        }
        consumer = new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    private void run(AtomicBoolean told) {
        consumer.subscribe(List.of(topic), new ConsumerRebalanceListener() {
            @Override
            public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
                say("assigned", "partitions", numbers(partitions), "generation", generation());
            }

            @Override
            public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
                commit();
                gone("revoked", partitions);
            }

            @Override
            public void onPartitionsLost(Collection<TopicPartition> partitions) {
                gone("lost", partitions);
            }
        });
        while (!told.get()) {
            try {
                process(consumer.poll(Duration.ofMillis(100)));
            } catch (KafkaException error) {
                say("trouble", "text", quoted(error.toString()));
            }
            commit();
        }
        consumer.close();
        say("left");
    }

    private void process(ConsumerRecords<byte[], byte[]> records) {
        String generation = generation();
        for (TopicPartition partition : records.partitions()) {
            long first = -1;
            long end = -1;
            for (ConsumerRecord<byte[], byte[]> record : records.records(partition)) {
                if (record.offset() != end) {
                    sayRead(partition.partition(), first, end, generation);
                    first = record.offset();
                }
                end = record.offset() + 1;
            }
            sayRead(partition.partition(), first, end, generation);
            pending.put(partition.partition(), end);
        }
    }

    private static void sayRead(int partition, long first, long end, String generation) {
        if (first >= 0) {
            say("read", "partition", partition, "first", first, "end", end, "generation", generation);
        }
    }

    /** Commits what is pending; it stays so until it is accepted or its partition is gone. */
    private void commit() {
        if (pending.isEmpty()) {
            return;
        }
        Map<Integer, Long> offsets = Map.copyOf(pending);
        Map<TopicPartition, OffsetAndMetadata> wanted = new HashMap<>();
        offsets.forEach((partition, offset) ->
            wanted.put(new TopicPartition(topic, partition), new OffsetAndMetadata(offset, name)));
        String failure = "null";
        try {
            consumer.commitSync(wanted);
            pending.clear();
        } catch (KafkaException error) {
            failure = quoted(error.getClass().getSimpleName());
        }
        for (var one : offsets.entrySet()) {
            say("commit", "partition", one.getKey(), "offset", one.getValue(), "error", failure);
        }
    }

    private void gone(String event, Collection<TopicPartition> partitions) {
        partitions.forEach(one -> pending.remove(one.partition()));
        say(event, "partitions", numbers(partitions));
    }

    private String generation() {
        int told = consumer.groupMetadata().generationId();
        return told < 0 ? "null" : String.valueOf(told);
    }

    private static String numbers(Collection<TopicPartition> partitions) {
        return partitions.stream().map(one -> String.valueOf(one.partition()))
            .collect(Collectors.joining(",", "[", "]"));
    }

    /** Writes an event; values are JSON already. */
    private static void say(String event, Object... fields) {
        var line = new StringBuilder("{\"event\":\"" + event + "\"");
        for (int at = 0; at < fields.length; at += 2) {
            line.append(",\"").append(fields[at]).append("\":").append(fields[at + 1]);
        }
        System.out.println(line.append('}'));
        System.out.flush();
    }

    private static String quoted(String text) {
        return '"' + text.replaceAll("[\\\\\"\\p{Cntrl}]", "'") + '"';
    }

    /** A field of the argument, whose texts have nothing to unescape; null if it is null. */
    private static String text(String asked, String field) {
        Matcher found = Pattern.compile("\"" + field + "\":(?:\"([^\"]*)\"|null)").matcher(asked);
        if (!found.find()) {
            throw new IllegalArgumentException("no text " + field + " in " + asked);
        }
        return found.group(1);
    }

    private static int number(String asked, String field) {
        Matcher found = Pattern.compile("\"" + field + "\":(\\d+)").matcher(asked);
        if (!found.find()) {
            throw new IllegalArgumentException("no number " + field + " in " + asked);
        }
        return Integer.parseInt(found.group(1));
    }
}

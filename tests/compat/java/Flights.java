// Apache Kafka's own client. Usage: Flights produce BROKER TOPIC CODEC | consume BROKER TOPIC
import java.io.BufferedOutputStream;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Future;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

public class Flights {
    public static void main(String[] arguments) throws Exception {
        if (arguments[0].equals("produce")) {
            produce(arguments[1], arguments[2], arguments[3]);
        } else {
            consume(arguments[1], arguments[2]);
        }
    }

    static void produce(String broker, String topic, String codec) throws Exception {
        Map<String, Object> config = Map.of(
            "bootstrap.servers", broker, "compression.type", codec, "linger.ms", 20);
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        try (var producer = new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer());
             var rows = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8))) {
            for (String row = rows.readLine(); row != null; row = rows.readLine()) {
                int tab = row.indexOf('\t');
                byte[] key = tab == 0 ? null : row.substring(0, tab).getBytes(StandardCharsets.UTF_8);
                byte[] value = row.substring(tab + 1).getBytes(StandardCharsets.UTF_8);
                sent.add(producer.send(new ProducerRecord<>(topic, key, value)));
            }
            producer.flush();
            for (Future<RecordMetadata> future : sent) {
                future.get();
            }
        }
    }

    static void consume(String broker, String topic) throws Exception {
        Map<String, Object> config = Map.of("bootstrap.servers", broker);
        try (var consumer = new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer());
             OutputStream out = new BufferedOutputStream(System.out)) {
            List<TopicPartition> partitions = consumer.partitionsFor(topic).stream()
                .map(info -> new TopicPartition(topic, info.partition())).toList();
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
            while (partitions.stream().anyMatch(part -> consumer.position(part) < ends.get(part))) {
                ConsumerRecords<byte[], byte[]> batch = consumer.poll(Duration.ofSeconds(30));
                if (batch.isEmpty()) {
                    throw new IllegalStateException("nothing came for 30 seconds");
                }
                for (ConsumerRecord<byte[], byte[]> record : batch) {
                    if (record.key() != null) {
                        out.write(record.key());
                    }
                    out.write('\t');
                    out.write(record.value());
                    out.write('\n');
                }
            }
        }
    }
}

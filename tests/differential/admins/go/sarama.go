package main

import (
	"fmt"
	"time"

	"github.com/IBM/sarama"
)

func saramas(broker string) {
	const topic, other, absent, group = "sarama-topic", "sarama-other", "sarama-absent", "sarama-group"
	config := sarama.NewConfig()
	config.Version = sarama.MaxVersion
	config.Producer.Partitioner = sarama.NewManualPartitioner
	config.Producer.Return.Successes = true
	config.Admin.Retry.Max = 0
	client, err := sarama.NewClient([]string{broker}, config)
	must(err)
	admin, err := sarama.NewClusterAdminFromClient(client)
	must(err)
	defer admin.Close()
	settle = func(name string) {
		must(admin.CreateTopic(name, &sarama.TopicDetail{NumPartitions: 1, ReplicationFactor: 1}, false))
		within(func() error { return client.RefreshMetadata(name) })
	}
	pair := func(name string) func(any, error) {
		return func(answer any, err error) { call(name, answer, err) }
	}
	text := func(value string) *string { return &value }
	detail := sarama.TopicDetail{NumPartitions: 3, ReplicationFactor: 1, ConfigEntries: map[string]*string{"retention.ms": text("-1")}}
	brokers := func(found []*sarama.Broker) []string {
		var shown []string
		for _, one := range found {
			shown = append(shown, fmt.Sprint(one.ID(), " ", one.Addr()))
		}
		return shown
	}
	partitions := map[string]map[int32]int64{topic: {0: sarama.OffsetNewest, 1: sarama.OffsetOldest, 2: first + 5}}
	commit := func(at string, offset int64) map[string]map[int32]sarama.OffsetAndMetadata {
		return map[string]map[int32]sarama.OffsetAndMetadata{at: {0: {Offset: offset, LeaderEpoch: -1, Metadata: "noted"}}}
	}
	resource := sarama.ConfigResource{Type: sarama.TopicResource, Name: topic}

	found, controller, err := admin.DescribeCluster()
	call("DescribeCluster", brokers(found), controller, err)
	call("CreateTopic, checked only", admin.CreateTopic(topic, &detail, true))
	call("CreateTopic", admin.CreateTopic(topic, &detail, false))
	call("CreateTopic, assigned", admin.CreateTopic(other, &sarama.TopicDetail{NumPartitions: -1, ReplicationFactor: -1, ReplicaAssignment: map[int32][]int32{0: {1}, 1: {1}}}, false))
	call("CreateTopic, again", admin.CreateTopic(topic, &detail, false))
	call("CreateTopic, wrong", admin.CreateTopic("sarama wrong", &detail, false))
	producer, err := sarama.NewSyncProducerFromClient(client)
	must(err)
	for partition := range int32(3) {
		for number := range 10 {
			value := sarama.StringEncoder(fmt.Sprintf("record %d", number))
			message := sarama.ProducerMessage{Topic: topic, Partition: partition, Value: value, Timestamp: time.UnixMilli(first + int64(number))}
			_, _, err := producer.SendMessage(&message)
			must(err)
		}
	}
	within(func() error {
		answer, err := admin.AlterConsumerGroupOffsets(group, commit(topic, 4), nil)
		if err == nil && answer.Errors[topic][0] != sarama.ErrNoError {
			err = answer.Errors[topic][0]
		}
		return err
	})
	listed, err := admin.ListTopics()
	call("ListTopics", map[string]any{topic: listed[topic], other: listed[other]}, err)
	pair("DescribeTopics")(admin.DescribeTopics([]string{topic, other, absent}))
	call("CreatePartitions, checked only", admin.CreatePartitions(other, 4, nil, true))
	call("CreatePartitions", admin.CreatePartitions(other, 3, nil, false))
	call("CreatePartitions, fewer", admin.CreatePartitions(other, 1, nil, false))
	pair("DescribeConfig")(admin.DescribeConfig(resource))
	pair("DescribeConfig, some")(admin.DescribeConfig(sarama.ConfigResource{Type: sarama.TopicResource, Name: topic, ConfigNames: []string{"retention.ms", "no.such"}}))
	pair("DescribeConfig, absent")(admin.DescribeConfig(sarama.ConfigResource{Type: sarama.TopicResource, Name: absent}))
	call("AlterConfig", admin.AlterConfig(sarama.TopicResource, other, map[string]*string{"segment.bytes": text("2097152")}, false))
	set := func(operation sarama.IncrementalAlterConfigsOperation, name, value string) map[string]sarama.IncrementalAlterConfigsEntry {
		return map[string]sarama.IncrementalAlterConfigsEntry{name: {Operation: operation, Value: text(value)}}
	}
	call("IncrementalAlterConfig", admin.IncrementalAlterConfig(sarama.TopicResource, topic, set(sarama.IncrementalAlterConfigsOperationSet, "max.message.bytes", "2000000"), false))
	call("IncrementalAlterConfig, a list", admin.IncrementalAlterConfig(sarama.TopicResource, topic, set(sarama.IncrementalAlterConfigsOperationAppend, "cleanup.policy", "compact"), false))
	call("IncrementalAlterConfig, wrong", admin.IncrementalAlterConfig(sarama.TopicResource, topic, set(sarama.IncrementalAlterConfigsOperationSet, "max.message.bytes", "many"), false))
	pair("DescribeConfigs")(admin.DescribeConfigs([]*sarama.ConfigResource{&resource}, sarama.DescribeConfigsOptions{IncludeSynonyms: true}))
	pair("ListOffsets")(admin.ListOffsets(partitions, nil))
	call("DeleteRecords", admin.DeleteRecords(topic, map[int32]int64{0: 3, 1: -1}))
	call("DeleteRecords, too far", admin.DeleteRecords(topic, map[int32]int64{2: 30}))
	pair("ListOffsets, after")(admin.ListOffsets(partitions, nil))
	pair("ElectLeaders")(admin.ElectLeaders(sarama.PreferredElection, map[string][]int32{topic: {0}}))
	call("AlterPartitionReassignments", admin.AlterPartitionReassignments(topic, [][]int32{{1}, {1}, {1}}))
	call("AlterPartitionReassignments, nowhere", admin.AlterPartitionReassignments(other, [][]int32{{7}}))
	pair("ListPartitionReassignments")(admin.ListPartitionReassignments(topic, []int32{0, 1, 2}))
	dirs, err := admin.DescribeLogDirs([]int32{1})
	call("DescribeLogDirs", len(dirs[1]), err)
	pair("UpdateFeatures")(admin.UpdateFeatures([]sarama.FeatureUpdate{{Feature: "no.such", MaxVersionLevel: 1}}))
	entity := []sarama.QuotaEntityComponent{{EntityType: sarama.QuotaEntityClientID, MatchType: sarama.QuotaMatchExact, Name: "sarama"}}
	filter := []sarama.QuotaFilterComponent{{EntityType: sarama.QuotaEntityClientID, MatchType: sarama.QuotaMatchExact, Match: "sarama"}}
	call("AlterClientQuotas", admin.AlterClientQuotas(entity, sarama.ClientQuotasOp{Key: "consumer_byte_rate", Value: 1048576}, false))
	within(func() error {
		found, err := admin.DescribeClientQuotas(filter, false)
		if err == nil && len(found) == 0 {
			err = fmt.Errorf("no quota")
		}
		return err
	})
	pair("DescribeClientQuotas")(admin.DescribeClientQuotas(filter, false))
	groups, err := admin.ListConsumerGroups()
	call("ListConsumerGroups", groups[group], err)
	pair("DescribeConsumerGroups")(admin.DescribeConsumerGroups([]string{group, absent}))
	pair("ListConsumerGroupOffsets")(admin.ListConsumerGroupOffsets(group, nil))
	pair("ListConsumerGroupOffsets, some")(admin.ListConsumerGroupOffsets(group, map[string][]int32{topic: {0, 1}, absent: {0}}))
	pair("ListConsumerGroupOffsetsBatch")(admin.ListConsumerGroupOffsetsBatch(map[string]map[string][]int32{group: {topic: {0}}, absent: nil}))
	pair("AlterConsumerGroupOffsets")(admin.AlterConsumerGroupOffsets(group, commit(topic, 6), nil))
	pair("AlterConsumerGroupOffsets, absent")(admin.AlterConsumerGroupOffsets(group, commit(absent, 6), nil))
	call("DeleteConsumerGroupOffset", admin.DeleteConsumerGroupOffset(group, topic, 0))
	call("DeleteConsumerGroupOffset, absent", admin.DeleteConsumerGroupOffset(group, absent, 0))
	pair("RemoveMemberFromConsumerGroup")(admin.RemoveMemberFromConsumerGroup(group, []string{"nobody"}))
	coordinator, err := admin.Coordinator(group)
	call("Coordinator", brokers([]*sarama.Broker{coordinator}), err)
	call("DeleteConsumerGroup", admin.DeleteConsumerGroup(group))
	call("DeleteConsumerGroup, absent", admin.DeleteConsumerGroup(absent))
	pair("ListAcls")(admin.ListAcls(sarama.AclFilter{ResourceType: sarama.AclResourceTopic, Operation: sarama.AclOperationAny, PermissionType: sarama.AclPermissionAny, ResourcePatternTypeFilter: sarama.AclPatternAny}))
	pair("DescribeUserScramCredentials")(admin.DescribeUserScramCredentials(nil))
	call("DeleteTopic", admin.DeleteTopic(topic))
	call("DeleteTopic, other", admin.DeleteTopic(other))
	call("DeleteTopic, absent", admin.DeleteTopic(absent))
	left, err := admin.ListTopics()
	_, one := left[topic]
	_, two := left[other]
	call("ListTopics, after", one || two, err)
}

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func franz(broker string) {
	const topic, other, absent, group = "franz-topic", "franz-other", "franz-absent", "franz-group"
	ctx := context.Background()
	client, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MetadataMinAge(10*time.Millisecond))
	must(err)
	defer client.Close()
	admin := kadm.NewClient(client)
	settle = func(name string) {
		_, err := admin.CreateTopic(ctx, 1, 1, nil, name)
		must(err)
		within(func() error {
			listed, err := admin.ListTopics(ctx, name)
			if err != nil {
				return err
			}
			return listed.Error()
		})
	}
	// pair tells of a call that gives an answer and an error.
	pair := func(name string) func(any, error) {
		return func(answer any, err error) { call(name, answer, err) }
	}
	one := func(offset int64) kadm.Offsets {
		var offsets kadm.Offsets
		for partition := range int32(3) {
			offsets.AddOffset(topic, partition, offset, -1)
		}
		return offsets
	}
	text := func(value string) *string { return &value }
	set := func(name, value string) []kadm.AlterConfig {
		return []kadm.AlterConfig{{Op: kadm.SetConfig, Name: name, Value: text(value)}}
	}
	var some kadm.TopicsSet
	some.Add(topic, 0)

	pair("ListBrokers")(admin.ListBrokers(ctx))
	pair("ValidateCreateTopics")(admin.ValidateCreateTopics(ctx, 3, 1, nil, topic))
	pair("CreateTopics")(admin.CreateTopics(ctx, 3, 1, map[string]*string{"retention.ms": text("-1")}, topic))
	pair("CreateTopics, defaults")(admin.CreateTopics(ctx, -1, -1, nil, other))
	pair("CreateTopics, again")(admin.CreateTopics(ctx, 3, 1, nil, topic, "franz wrong"))
	for partition := range int32(3) {
		for number := range 10 {
			record := kgo.Record{Topic: topic, Partition: partition, Value: fmt.Appendf(nil, "record %d", number), Timestamp: time.UnixMilli(first + int64(number))}
			must(client.ProduceSync(ctx, &record).FirstErr())
		}
	}
	within(func() error { return admin.CommitAllOffsets(ctx, group, one(4)) })
	pair("ListTopics")(admin.ListTopics(ctx, topic, other, absent))
	pair("ValidateCreatePartitions")(admin.ValidateCreatePartitions(ctx, 2, other))
	pair("CreatePartitions")(admin.CreatePartitions(ctx, 1, other))
	pair("UpdatePartitions, fewer")(admin.UpdatePartitions(ctx, 1, other))
	pair("DescribeTopicConfigs")(admin.DescribeTopicConfigs(ctx, topic, absent))
	pair("AlterTopicConfigs")(admin.AlterTopicConfigs(ctx, set("max.message.bytes", "2000000"), topic, absent))
	pair("AlterTopicConfigs, wrong")(admin.AlterTopicConfigs(ctx, set("max.message.bytes", "many"), topic))
	pair("ValidateAlterTopicConfigs")(admin.ValidateAlterTopicConfigs(ctx, set("max.message.bytes", "3000000"), topic))
	pair("AlterTopicConfigsState")(admin.AlterTopicConfigsState(ctx, set("segment.bytes", "2097152"), other))
	pair("DescribeTopicConfigs, after")(admin.DescribeTopicConfigs(ctx, topic, other))
	pair("ValidateAlterBrokerConfigs")(admin.ValidateAlterBrokerConfigs(ctx, set("log.retention.ms", "1000000"), 1))
	pair("ListConfigResources")(admin.ListConfigResources(ctx, kadm.ConfigResourceType(4)))
	pair("ListStartOffsets")(admin.ListStartOffsets(ctx, topic))
	pair("ListEndOffsets")(admin.ListEndOffsets(ctx, topic, absent))
	pair("ListCommittedOffsets")(admin.ListCommittedOffsets(ctx, topic))
	pair("ListMaxTimestampOffsets")(admin.ListMaxTimestampOffsets(ctx, topic))
	pair("ListLocalLogStartOffsets")(admin.ListLocalLogStartOffsets(ctx, topic))
	pair("ListLatestRemoteOffsets")(admin.ListLatestRemoteOffsets(ctx, topic))
	pair("ListOffsetsAfterMilli")(admin.ListOffsetsAfterMilli(ctx, first+5, topic))
	pair("OffsetForLeaderEpoch")(admin.OffsetForLeaderEpoch(ctx, epochs(topic)))
	pair("DeleteRecords")(admin.DeleteRecords(ctx, one(3)))
	pair("DeleteRecords, too far")(admin.DeleteRecords(ctx, one(30)))
	pair("DescribeAllLogDirs")(admin.DescribeAllLogDirs(ctx, some))
	producers, err := admin.DescribeProducers(ctx, some)
	call("DescribeProducers", active(producers, topic), err)
	pair("ElectLeaders")(admin.ElectLeaders(ctx, kadm.ElectPreferredReplica, some))
	var nowhere, again kadm.AlterPartitionAssignmentsReq
	nowhere.Assign(topic, 0, []int32{7})
	again.Assign(topic, 0, []int32{1})
	pair("AlterPartitionAssignments")(admin.AlterPartitionAssignments(ctx, again))
	pair("AlterPartitionAssignments, nowhere")(admin.AlterPartitionAssignments(ctx, nowhere))
	pair("ListPartitionReassignments")(admin.ListPartitionReassignments(ctx, some))
	pair("UpdateFeatures, checked only")(admin.UpdateFeatures(ctx, true, kadm.FeatureUpdate{Feature: "no.such", MaxVersionLevel: 1, UpgradeType: 1}))
	rate := []kadm.AlterClientQuotaEntry{{
		Entity: kadm.ClientQuotaEntity{{Type: "client-id", Name: text("franz")}},
		Ops:    []kadm.AlterClientQuotaOp{{Key: "producer_byte_rate", Value: 1048576}},
	}}
	pair("ValidateAlterClientQuotas")(admin.ValidateAlterClientQuotas(ctx, rate))
	pair("AlterClientQuotas")(admin.AlterClientQuotas(ctx, rate))
	within(func() error {
		found, err := admin.DescribeClientQuotas(ctx, false, quotas("franz"))
		if err == nil && len(found) == 0 {
			err = fmt.Errorf("no quota")
		}
		return err
	})
	pair("DescribeClientQuotas")(admin.DescribeClientQuotas(ctx, false, quotas("franz")))
	pair("ListGroups, by state")(admin.ListGroups(ctx, "Stable"))
	pair("ListGroupsByType")(admin.ListGroupsByType(ctx, []string{"consumer"}))
	pair("DescribeGroups")(admin.DescribeGroups(ctx, group, absent))
	pair("FindGroupCoordinators")(admin.FindGroupCoordinators(ctx, group, absent), nil)
	pair("FetchOffsets")(admin.FetchOffsets(ctx, group))
	pair("FetchOffsetsForTopics")(admin.FetchOffsetsForTopics(ctx, group, topic, other))
	pair("FetchManyOffsets")(admin.FetchManyOffsets(ctx, group, absent), nil)
	pair("Lag")(admin.Lag(ctx, group))
	pair("CommitOffsets, absent")(admin.CommitOffsets(ctx, group, kadm.Offsets{absent: {0: kadm.Offset{Topic: absent, At: 1, LeaderEpoch: -1}}}))
	pair("DeleteOffsets")(admin.DeleteOffsets(ctx, group, some))
	pair("LeaveGroup")(admin.LeaveGroup(ctx, kadm.LeaveGroup(group).InstanceIDs("nobody")))
	pair("FetchOffsets, after")(admin.FetchOffsets(ctx, group))
	pair("DeleteGroups")(admin.DeleteGroups(ctx, group, absent))
	pair("DescribeACLs")(admin.DescribeACLs(ctx, kadm.NewACLs().AnyResource().Allow().AllowHosts().Operations(kadm.OpAny).ResourcePatternType(kadm.ACLPatternAny)))
	pair("DescribeUserSCRAMs")(admin.DescribeUserSCRAMs(ctx))
	pair("DescribeDelegationTokens")(admin.DescribeDelegationTokens(ctx))
	pair("ListTransactions")(admin.ListTransactions(ctx, nil, nil))
	pair("DescribeTransactions")(admin.DescribeTransactions(ctx, "nothing"))
	pair("DeleteTopics")(admin.DeleteTopics(ctx, topic, other, absent))
}

// active gives the producers of a partition; each cluster hands out ids of its own.
func active(described kadm.DescribedProducersTopics, topic string) []kadm.DescribedProducer {
	var found []kadm.DescribedProducer
	for _, producer := range described[topic].Partitions[0].ActiveProducers {
		producer.ProducerID = 0
		found = append(found, producer)
	}
	return found
}

func epochs(topic string) kadm.OffsetForLeaderEpochRequest {
	var wanted kadm.OffsetForLeaderEpochRequest
	wanted.Add(topic, 0, 0)
	return wanted
}

func quotas(client string) []kadm.DescribeClientQuotaComponent {
	return []kadm.DescribeClientQuotaComponent{{Type: "client-id", MatchName: &client, MatchType: 0}}
}

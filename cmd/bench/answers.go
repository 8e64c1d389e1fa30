package main

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// answer answers everything but produce requests.
func (b *broker) answer(key, version int16, body []byte) (kmsg.Response, error) {
	if key == int16(kmsg.ApiVersions) {
		return b.versions(version), nil
	}
	req := kmsg.RequestForKey(key)
	req.SetVersion(version)
	if req.IsFlexible() {
		if len(body) == 0 || body[0] != 0 {
			return nil, fmt.Errorf("tagged fields before a %s request", kmsg.NameForKey(key))
		}
		body = body[1:]
	}
	if err := req.ReadFrom(body); err != nil {
		return nil, fmt.Errorf("read a %s request: %w", kmsg.NameForKey(key), err)
	}
	switch req := req.(type) {
	case *kmsg.MetadataRequest:
		return b.metadata(req), nil
	case *kmsg.InitProducerIDRequest:
		resp := req.ResponseKind().(*kmsg.InitProducerIDResponse)
		resp.ProducerID = b.producers.Add(1)
		return resp, nil
	case *kmsg.CreateTopicsRequest:
		resp := req.ResponseKind().(*kmsg.CreateTopicsResponse)
		for _, t := range req.Topics {
			made := kmsg.NewCreateTopicsResponseTopic()
			made.Topic, made.NumPartitions, made.ReplicationFactor = t.Topic, int32(b.partitions), 1
			resp.Topics = append(resp.Topics, made)
		}
		return resp, nil
	case *kmsg.DescribeConfigsRequest:
		resp := req.ResponseKind().(*kmsg.DescribeConfigsResponse)
		for _, r := range req.Resources {
			described := kmsg.NewDescribeConfigsResponseResource()
			described.ResourceType, described.ResourceName = r.ResourceType, r.ResourceName
			resp.Resources = append(resp.Resources, described)
		}
		return resp, nil
	case *kmsg.ListOffsetsRequest:
		return b.offsets(req), nil
	case *kmsg.FindCoordinatorRequest:
		resp := req.ResponseKind().(*kmsg.FindCoordinatorResponse)
		resp.ErrorCode = kerr.CoordinatorNotAvailable.Code // there are no groups here
		return resp, nil
	}
	return nil, fmt.Errorf("a %s request is not answered", kmsg.NameForKey(key))
}

func (b *broker) versions(version int16) kmsg.Response {
	resp := kmsg.NewPtrApiVersionsResponse()
	resp.SetVersion(version)
	if version > supported[int16(kmsg.ApiVersions)] {
		// By the protocol, a version too new is answered in the oldest format.
		resp.SetVersion(0)
		resp.ErrorCode = kerr.UnsupportedVersion.Code
	}
	for key, newest := range supported {
		k := kmsg.NewApiVersionsResponseApiKey()
		k.ApiKey, k.MaxVersion = key, newest
		resp.ApiKeys = append(resp.ApiKeys, k)
	}
	return resp
}

func (b *broker) metadata(req *kmsg.MetadataRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.MetadataResponse)
	self := kmsg.NewMetadataResponseBroker()
	self.NodeID, self.Host, self.Port = 1, b.host, b.port
	resp.Brokers = append(resp.Brokers, self)
	resp.ControllerID = 1
	resp.ClusterID = kmsg.StringPtr("bench")
	for _, asked := range req.Topics {
		t := kmsg.NewMetadataResponseTopic()
		t.Topic, t.TopicID = asked.Topic, asked.TopicID
		if asked.Topic == nil {
			t.ErrorCode = kerr.UnknownTopicID.Code
			resp.Topics = append(resp.Topics, t)
			continue
		}
		for i := range b.partitions {
			p := kmsg.NewMetadataResponseTopicPartition()
			p.Partition, p.Leader, p.LeaderEpoch = int32(i), 1, 0
			p.Replicas, p.ISR = []int32{1}, []int32{1}
			t.Partitions = append(t.Partitions, p)
		}
		resp.Topics = append(resp.Topics, t)
	}
	return resp
}

// offsets says that every partition is empty.
func (b *broker) offsets(req *kmsg.ListOffsetsRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.ListOffsetsResponse)
	for _, asked := range req.Topics {
		t := kmsg.NewListOffsetsResponseTopic()
		t.Topic = asked.Topic
		for _, p := range asked.Partitions {
			empty := kmsg.NewListOffsetsResponseTopicPartition()
			empty.Partition, empty.Offset, empty.Timestamp = p.Partition, 0, -1
			t.Partitions = append(t.Partitions, empty)
		}
		resp.Topics = append(resp.Topics, t)
	}
	return resp
}

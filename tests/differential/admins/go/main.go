// Admin clients of Go: each call once, a line of JSON for each: {"call": ..., "answer": ...}.
// Usage: admins franz-go|sarama BROKER.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"time"
)

// The time of the first record, in milliseconds.
const first = 1500000000000

// How long a broker may say no until all of its parts have loaded.
const limit = 30 * time.Second

// plain turns a value of a client's own types into one that JSON has: exported fields by name,
// errors as their text, keys of maps as text.
func plain(value reflect.Value) any {
	if !value.IsValid() {
		return nil
	}
	if value.CanInterface() {
		if err, is := value.Interface().(error); is {
			if value.Kind() == reflect.Pointer && value.IsNil() {
				return nil
			}
			return err.Error()
		}
	}
	switch value.Kind() {
	case reflect.Pointer, reflect.Interface:
		if value.IsNil() {
			return nil
		}
		return plain(value.Elem())
	case reflect.Struct:
		fields := map[string]any{}
		for index := range value.NumField() {
			if field := value.Type().Field(index); field.IsExported() {
				fields[field.Name] = plain(value.Field(index))
			}
		}
		return fields
	case reflect.Map:
		pairs := map[string]any{}
		for _, key := range value.MapKeys() {
			pairs[fmt.Sprint(plain(key))] = plain(value.MapIndex(key))
		}
		return pairs
	case reflect.Slice, reflect.Array:
		if value.Type().Elem().Kind() == reflect.Uint8 && value.Kind() == reflect.Array {
			// Ids are random.
			return map[bool]string{true: "no id", false: "an id"}[value.IsZero()]
		}
		if value.Type().Elem().Kind() == reflect.Uint8 {
			return fmt.Sprintf("%x", value.Interface())
		}
		list := make([]any, 0, value.Len())
		for index := range value.Len() {
			list = append(list, plain(value.Index(index)))
		}
		return list
	case reflect.Func, reflect.Chan:
		return nil
	default:
		return value.Interface()
	}
}

// Calls that change something; Apache Kafka's parts learn of a change one after another.
var changing = regexp.MustCompile("^(Create|Alter|Incremental|Update|DeleteTopic)")

// settle makes a topic of this name and returns when it is known, and with it all changes before.
var settle func(name string)
var settled int

// call tells what came of one call; an error is an answer too.
func call(name string, answers ...any) {
	var shown []any
	for _, answer := range answers {
		shown = append(shown, plain(reflect.ValueOf(answer)))
	}
	line, err := json.Marshal(map[string]any{"call": name, "answer": shown})
	must(err)
	fmt.Println(string(line))
	if changing.MatchString(name) {
		settled++
		settle(fmt.Sprint("settled-", os.Args[1], "-", settled))
	}
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// within repeats an attempt until it succeeds.
func within(attempt func() error) {
	deadline := time.Now().Add(limit)
	for {
		err := attempt()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			must(err)
		}
	}
}

func main() {
	clients := map[string]func(string){"franz-go": franz, "sarama": saramas}
	if len(os.Args) != 3 || clients[os.Args[1]] == nil {
		must(fmt.Errorf("usage: admins franz-go|sarama BROKER"))
	}
	clients[os.Args[1]](os.Args[2])
}

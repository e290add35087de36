package rookery

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"strconv"
	"testing"
)

type vectors struct {
	Accepted []struct {
		Name, Kind string
		Fields     map[string]json.RawMessage
		Frame      json.RawMessage
	}
	Refused []struct {
		Name, Error string
		Frame       json.RawMessage
	}
}

func load(t *testing.T) vectors {
	t.Helper()
	text, err := os.ReadFile("../../docs/protocol-vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var file vectors
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	return file
}

// blob is hex, or a list of parts where a part is hex or a repeated byte and how often.
func blob(t *testing.T, raw json.RawMessage) []byte {
	t.Helper()
	var text string
	if json.Unmarshal(raw, &text) == nil {
		bytes, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		return bytes
	}
	var parts, run []json.RawMessage
	must(t, json.Unmarshal(raw, &parts))
	all := []byte{}
	for _, part := range parts {
		if json.Unmarshal(part, &run) != nil {
			all = append(all, blob(t, part)...)
			continue
		}
		count, err := strconv.Atoi(string(run[1]))
		must(t, err)
		all = append(all, bytes.Repeat(blob(t, run[0]), count)...)
	}
	return all
}

// fill sets a value from the file's form of it: integers are decimal strings, bytes as in blob.
func fill(t *testing.T, value reflect.Value, raw json.RawMessage) {
	t.Helper()
	switch {
	case value.Kind() == reflect.Struct:
		var fields map[string]json.RawMessage
		must(t, json.Unmarshal(raw, &fields))
		if len(fields) != value.NumField() {
			t.Fatalf("%s has %d fields", value.Type(), len(fields))
		}
		for i := 0; i < value.NumField(); i++ {
			fill(t, value.Field(i), fields[value.Type().Field(i).Tag.Get("name")])
		}
	case value.Kind() == reflect.Array:
		reflect.Copy(value, reflect.ValueOf(blob(t, raw)))
	case value.Kind() != reflect.Slice:
		var text string
		must(t, json.Unmarshal(raw, &text))
		number, err := strconv.ParseUint(text, 10, 64)
		must(t, err)
		value.SetUint(number)
	case value.Type().Elem().Kind() == reflect.Uint8:
		value.SetBytes(blob(t, raw))
	default:
		var elements []json.RawMessage
		must(t, json.Unmarshal(raw, &elements))
		value.Set(reflect.MakeSlice(value.Type(), len(elements), len(elements)))
		for i, element := range elements {
			fill(t, value.Index(i), element)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestEveryAcceptedFrameIsReadAndWritten(t *testing.T) {
	seen := make(map[byte]bool)
	for _, vector := range load(t).Accepted {
		frame := blob(t, vector.Frame)
		read, err := Decode(frame)
		if err != nil {
			t.Errorf("%s: %v", vector.Name, err)
			continue
		}
		typ := reflect.TypeOf(kinds[frame[1]])
		if typ.Name() != vector.Kind {
			t.Errorf("%s: kind %s is read as %s", vector.Name, vector.Kind, typ.Name())
		}
		fields, err := json.Marshal(vector.Fields)
		must(t, err)
		meant := reflect.New(typ)
		fill(t, meant.Elem(), fields)
		if !reflect.DeepEqual(read, meant.Interface()) {
			t.Errorf("%s: read as %v", vector.Name, read)
		}
		if !bytes.Equal(Encode(meant.Interface()), frame) {
			t.Errorf("%s: written otherwise", vector.Name)
		}
		seen[frame[1]] = true
	}
	if len(seen) != len(kinds) {
		t.Errorf("%d of %d kinds have a vector", len(seen), len(kinds))
	}
}

func TestEveryRefusedFrameHasItsError(t *testing.T) {
	refused := load(t).Refused
	if len(refused) == 0 {
		t.Fatal("no vectors")
	}
	for _, vector := range refused {
		_, err := Decode(blob(t, vector.Frame))
		var because *FrameError
		if !errors.As(err, &because) || because.Name != vector.Error {
			t.Errorf("%s: %v, not %s", vector.Name, err, vector.Error)
		}
	}
}

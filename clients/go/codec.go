package rookery

import (
	"encoding/binary"
	"fmt"
	"reflect"
	"strconv"
)

// FrameError says why a frame was refused: by the name of the check that it failed.
type FrameError struct {
	Name   string
	Detail string
}

func (e *FrameError) Error() string { return "a frame is refused: " + e.Name + ": " + e.Detail }

func refused(name, format string, values ...any) error {
	return &FrameError{name, fmt.Sprintf(format, values...)}
}

var (
	order       = binary.LittleEndian
	kindOfType  = make(map[reflect.Type]byte)
	listBytes   = 8
	headerBytes = 2
)

func init() {
	for kind, message := range kinds {
		kindOfType[reflect.TypeOf(message)] = kind
	}
}

// Encode is the frame of a message, a pointer to one of the structs of this package.
func Encode(message any) []byte {
	value := reflect.ValueOf(message).Elem()
	archive := &archive{}
	positions := archive.lists(value)
	archive.root(value, positions)
	return append([]byte{version, kindOfType[value.Type()]}, archive.bytes...)
}

type archive struct{ bytes []byte }

// lists appends what the lists of a struct hold, and says where each begins, by field.
func (a *archive) lists(value reflect.Value) map[int]int {
	positions := make(map[int]int)
	for i := 0; i < value.NumField(); i++ {
		list := value.Field(i)
		if list.Kind() != reflect.Slice {
			continue
		}
		var inner []map[int]int
		if list.Type().Elem().Kind() == reflect.Struct {
			for n := 0; n < list.Len(); n++ {
				inner = append(inner, a.lists(list.Index(n)))
			}
		}
		positions[i] = len(a.bytes)
		for n := 0; n < list.Len(); n++ {
			if inner == nil {
				a.scalar(list.Index(n))
			} else {
				a.root(list.Index(n), inner[n])
			}
		}
	}
	return positions
}

func (a *archive) root(value reflect.Value, positions map[int]int) {
	for i := 0; i < value.NumField(); i++ {
		field := value.Field(i)
		if field.Kind() != reflect.Slice {
			a.scalar(field)
			continue
		}
		pointer := int32(positions[i] - len(a.bytes))
		a.bytes = order.AppendUint32(a.bytes, uint32(pointer))
		a.bytes = order.AppendUint32(a.bytes, uint32(field.Len()))
	}
}

func (a *archive) scalar(value reflect.Value) {
	switch value.Kind() {
	case reflect.Uint8:
		a.bytes = append(a.bytes, byte(value.Uint()))
	case reflect.Uint16:
		a.bytes = order.AppendUint16(a.bytes, uint16(value.Uint()))
	case reflect.Uint32:
		a.bytes = order.AppendUint32(a.bytes, uint32(value.Uint()))
	case reflect.Uint64:
		a.bytes = order.AppendUint64(a.bytes, value.Uint())
	case reflect.Array:
		for i := 0; i < value.Len(); i++ {
			a.scalar(value.Index(i))
		}
	}
}

// size is how many bytes a field or a struct has.
func size(typ reflect.Type) int {
	switch typ.Kind() {
	case reflect.Slice:
		return listBytes
	case reflect.Struct:
		total := 0
		for i := 0; i < typ.NumField(); i++ {
			total += size(typ.Field(i).Type)
		}
		return total
	}
	return int(typ.Size())
}

// Decode is the message of a frame: a pointer to one of the structs of this package. The checks are in
// the document's order; how long a frame may be is the WebSocket's to hold it to.
func Decode(frame []byte) (any, error) {
	if len(frame) < headerBytes {
		return nil, refused("Empty", "%d bytes", len(frame))
	}
	if frame[0] != version {
		return nil, refused("Version", "%d", frame[0])
	}
	message, known := kinds[frame[1]]
	if !known {
		return nil, refused("Kind", "%#x", frame[1])
	}
	reader := &reader{archive: frame[headerBytes:]}
	value := reflect.New(reflect.TypeOf(message))
	rootAt := len(reader.archive) - size(value.Elem().Type())
	if rootAt < 0 {
		return nil, refused("Invalid", "%d bytes are less than the root", len(frame))
	}
	end, err := reader.root(value.Elem(), rootAt, 0, rootAt)
	if err != nil {
		return nil, err
	}
	if end != rootAt {
		return nil, refused("Invalid", "bytes %d to %d belong to no list", end, rootAt)
	}
	if id := value.Elem().Field(0); frame[1] < 0x40 && id.Type() == reflect.TypeOf(RequestID(0)) && id.IsZero() {
		return nil, refused("Invalid", "a request without an id")
	}
	return value.Interface(), reader.tooLong
}

type reader struct {
	archive []byte
	// The first list over its limit. Whatever is invalid counts before it.
	tooLong error
}

// root reads a struct whose lists fill the archive from low on, up to high at most, and says where they
// end.
func (r *reader) root(value reflect.Value, at, low, high int) (int, error) {
	for i := 0; i < value.NumField(); i++ {
		field := value.Field(i)
		if field.Kind() == reflect.Slice {
			end, err := r.list(field, value.Type().Field(i), at, low, high)
			if err != nil {
				return 0, err
			}
			low = end
		} else {
			r.scalar(field, at)
		}
		at += size(field.Type())
	}
	return low, nil
}

func (r *reader) list(list reflect.Value, field reflect.StructField, at, low, high int) (int, error) {
	pointer := int64(int32(order.Uint32(r.archive[at:])))
	length := int64(order.Uint32(r.archive[at+4:]))
	element := list.Type().Elem()
	first := int64(at) + pointer
	behind := first + length*int64(size(element))
	if first < int64(low) || behind > int64(high) {
		return 0, refused("Invalid", "%s lies at %d to %d, not in %d to %d", field.Name, first, behind, low, high)
	}
	start, end, count := int(first), int(behind), int(length)
	if most, _ := strconv.Atoi(field.Tag.Get("max")); count > most && r.tooLong == nil {
		r.tooLong = refused("TooLong", "%s has %d of %d", field.Name, count, most)
	}
	list.Set(reflect.MakeSlice(list.Type(), count, count))
	filled := low
	for n := 0; n < count; n++ {
		position := start + n*size(element)
		if element.Kind() != reflect.Struct {
			r.scalar(list.Index(n), position)
			continue
		}
		next, err := r.root(list.Index(n), position, filled, start)
		if err != nil {
			return 0, err
		}
		filled = next
	}
	if filled != start {
		return 0, refused("Invalid", "bytes %d to %d belong to no list", filled, start)
	}
	return end, nil
}

func (r *reader) scalar(value reflect.Value, at int) {
	switch value.Kind() {
	case reflect.Uint8:
		value.SetUint(uint64(r.archive[at]))
	case reflect.Uint16:
		value.SetUint(uint64(order.Uint16(r.archive[at:])))
	case reflect.Uint32:
		value.SetUint(uint64(order.Uint32(r.archive[at:])))
	case reflect.Uint64:
		value.SetUint(order.Uint64(r.archive[at:]))
	case reflect.Array:
		for i := 0; i < value.Len(); i++ {
			r.scalar(value.Index(i), at+i*size(value.Type().Elem()))
		}
	}
}

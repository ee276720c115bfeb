#pragma once
// wgmma m64nNk16 for every N that is a multiple of 16: bf16, both operands K-major in shared memory, fp32 sums. With
// g = lane / 4, t = lane % 4 and warp w of the four, d[4 j + i] is row 16 w + g + 8 (i / 2), column 8 j + 2 t + i % 2.
// Operands are described by device::operand (kernels/mla/mla_hopper.cuh).

#include <cstdint>

namespace kdabench::device {

template <int N>
struct Wgmma;  // d += a b^T

// Registers by eights: as the instruction names them, and as the compiler gives them.
#define KDABENCH_D16 "%0,%1,%2,%3,%4,%5,%6,%7"
#define KDABENCH_D32 KDABENCH_D16 ",%8,%9,%10,%11,%12,%13,%14,%15"
#define KDABENCH_D48 KDABENCH_D32 ",%16,%17,%18,%19,%20,%21,%22,%23"
#define KDABENCH_D64 KDABENCH_D48 ",%24,%25,%26,%27,%28,%29,%30,%31"
#define KDABENCH_D80 KDABENCH_D64 ",%32,%33,%34,%35,%36,%37,%38,%39"
#define KDABENCH_D96 KDABENCH_D80 ",%40,%41,%42,%43,%44,%45,%46,%47"
#define KDABENCH_D112 KDABENCH_D96 ",%48,%49,%50,%51,%52,%53,%54,%55"
#define KDABENCH_D128 KDABENCH_D112 ",%56,%57,%58,%59,%60,%61,%62,%63"
#define KDABENCH_D144 KDABENCH_D128 ",%64,%65,%66,%67,%68,%69,%70,%71"
#define KDABENCH_D160 KDABENCH_D144 ",%72,%73,%74,%75,%76,%77,%78,%79"
#define KDABENCH_D176 KDABENCH_D160 ",%80,%81,%82,%83,%84,%85,%86,%87"
#define KDABENCH_D192 KDABENCH_D176 ",%88,%89,%90,%91,%92,%93,%94,%95"
#define KDABENCH_D208 KDABENCH_D192 ",%96,%97,%98,%99,%100,%101,%102,%103"
#define KDABENCH_D224 KDABENCH_D208 ",%104,%105,%106,%107,%108,%109,%110,%111"
#define KDABENCH_D240 KDABENCH_D224 ",%112,%113,%114,%115,%116,%117,%118,%119"
#define KDABENCH_D256 KDABENCH_D240 ",%120,%121,%122,%123,%124,%125,%126,%127"
#define KDABENCH_EIGHT(i) \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]),          \
      "+f"(d[i + 7])
#define KDABENCH_V16 KDABENCH_EIGHT(0)
#define KDABENCH_V32 KDABENCH_V16, KDABENCH_EIGHT(8)
#define KDABENCH_V48 KDABENCH_V32, KDABENCH_EIGHT(16)
#define KDABENCH_V64 KDABENCH_V48, KDABENCH_EIGHT(24)
#define KDABENCH_V80 KDABENCH_V64, KDABENCH_EIGHT(32)
#define KDABENCH_V96 KDABENCH_V80, KDABENCH_EIGHT(40)
#define KDABENCH_V112 KDABENCH_V96, KDABENCH_EIGHT(48)
#define KDABENCH_V128 KDABENCH_V112, KDABENCH_EIGHT(56)
#define KDABENCH_V144 KDABENCH_V128, KDABENCH_EIGHT(64)
#define KDABENCH_V160 KDABENCH_V144, KDABENCH_EIGHT(72)
#define KDABENCH_V176 KDABENCH_V160, KDABENCH_EIGHT(80)
#define KDABENCH_V192 KDABENCH_V176, KDABENCH_EIGHT(88)
#define KDABENCH_V208 KDABENCH_V192, KDABENCH_EIGHT(96)
#define KDABENCH_V224 KDABENCH_V208, KDABENCH_EIGHT(104)
#define KDABENCH_V240 KDABENCH_V224, KDABENCH_EIGHT(112)
#define KDABENCH_V256 KDABENCH_V240, KDABENCH_EIGHT(120)
#define KDABENCH_WGMMA(n, a_at, b_at)                                                                                 \
  template <>                                                                                                         \
  struct Wgmma<n> {                                                                                                   \
    __device__ static __forceinline__ void add(float (&d)[n / 2], uint64_t a, uint64_t b) {                           \
      asm volatile("{\n.reg .pred p;\nsetp.eq.b32 p, 0, 0;\nwgmma.mma_async.sync.aligned.m64n" #n                      \
                   "k16.f32.bf16.bf16 {" KDABENCH_D##n "}, " a_at ", " b_at ", p, 1, 1, 0, 0;\n}\n"                   \
                   : KDABENCH_V##n                                                                                    \
                   : "l"(a), "l"(b));                                                                                 \
    }                                                                                                                 \
  };
KDABENCH_WGMMA(16, "%8", "%9")
KDABENCH_WGMMA(32, "%16", "%17")
KDABENCH_WGMMA(48, "%24", "%25")
KDABENCH_WGMMA(64, "%32", "%33")
KDABENCH_WGMMA(80, "%40", "%41")
KDABENCH_WGMMA(96, "%48", "%49")
KDABENCH_WGMMA(112, "%56", "%57")
KDABENCH_WGMMA(128, "%64", "%65")
KDABENCH_WGMMA(144, "%72", "%73")
KDABENCH_WGMMA(160, "%80", "%81")
KDABENCH_WGMMA(176, "%88", "%89")
KDABENCH_WGMMA(192, "%96", "%97")
KDABENCH_WGMMA(208, "%104", "%105")
KDABENCH_WGMMA(224, "%112", "%113")
KDABENCH_WGMMA(240, "%120", "%121")
KDABENCH_WGMMA(256, "%128", "%129")
#undef KDABENCH_WGMMA
#undef KDABENCH_EIGHT

}  // namespace kdabench::device
